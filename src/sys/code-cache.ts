/**
 * Loads the files of the command with the code that V8 made of them the last time. To parse and
 * compile them would take as long as Node itself takes to start.
 *
 * The code is kept below $XDG_CACHE_HOME or ~/.cache, in a file for each file and each state of it.
 * V8 refuses code of another version or other options, but trusts the bytes. So only a folder that
 * nobody else can write is used, and files appear in it whole. NODE_DISABLE_COMPILE_CACHE=1, Node's
 * own variable for its own cache, switches this one off.
 *
 * Source: Node's documentation, vm.Script: cachedData, createCachedData. Node's own cache
 * (module.enableCompileCache) is not in Node 20, and keeps only what was compiled before a module ran.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { Script } from "node:vm";

/** What the function around a CommonJS file takes. */
const HEAD = "(function(exports,require,module,__filename,__dirname){";
const TAIL = "\n})";
/** This file: it is loaded already, by `others`. */
const OWN = "./code-cache.js";
/** Files in the folder before the oldest are removed. */
const MOST_FILES = 64;
/** After so long, a program that goes on saves what it has loaded; most of it is compiled then. */
const SAVE_AFTER_MS = 2_000;

type Require = (id: string) => unknown;

interface Loaded {
  readonly script: Script;
  /** Where its code is kept; undefined once it is there. */
  place: string | undefined;
}

const loaded: Loaded[] = [];
const modules = new Map<string, { exports: unknown }>();
/** Undefined before it was asked for; null if there is none. */
let cache: string | null | undefined;

/** A `require` for a file in `folder`, by which its neighbours come from the cache, and anything else by `others`. */
export function cachedRequire(folder: string, others: Require): Require {
  return (id) => (id.startsWith("./") && id !== OWN ? load(join(folder, id), others) : others(id));
}

/** What `import()` is in files of the command: code from a cache has none of its own. @param name "node:" or "file:" */
export function importModule(name: string): Promise<unknown> {
  return import(name);
}

/** Saves the code of all files that were loaded without it. Later calls save what was loaded since. */
export function saveCode(): void {
  for (const file of loaded) {
    if (file.place !== undefined) write(file.place, file.script.createCachedData());
    file.place = undefined;
  }
}

/** Saves the code when this process ends, or goes on for some time. */
export function saveCodeLater(): void {
  process.once("exit", saveCode);
  setTimeout(saveCode, SAVE_AFTER_MS).unref();
}

function load(path: string, others: Require): unknown {
  const known = modules.get(path);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  modules.set(path, module); // before it runs: files may require each other
  const folder = dirname(path);
  try {
    compile(path)(module.exports, cachedRequire(folder, others), module, path, folder);
  } catch (error) {
    modules.delete(path);
    throw error;
  }
  return module.exports;
}

type Wrapper = (exports: object, require: Require, module: object, path: string, folder: string) => void;

function compile(path: string): Wrapper {
  const source = readFileSync(path, "latin1"); // all of it is ASCII: see rolldown.config.js
  const place = placeOf(path);
  const cachedData = place === undefined ? undefined : read(place);
  const script = new Script(HEAD + source + TAIL, {
    filename: path,
    columnOffset: -HEAD.length,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  const isCached = cachedData !== undefined && script.cachedDataRejected !== true;
  loaded.push({ script, place: isCached ? undefined : place });
  const wrapper: Wrapper = script.runInThisContext();
  return wrapper;
}

/** The name says of which state of the file it is, so that code of another is never used. */
function placeOf(path: string): string | undefined {
  cache ??= openCache();
  if (cache === null) return undefined;
  const { size, ino, ctimeMs } = statSync(path);
  return join(cache, `${basename(path)}-${process.version}-${process.arch}-${size}-${ino}-${ctimeMs}`);
}

function openCache(): string | null {
  const { NODE_DISABLE_COMPILE_CACHE, NODE_V8_COVERAGE, XDG_CACHE_HOME, HOME } = process.env;
  // Coverage is not counted in code from a cache.
  if (NODE_DISABLE_COMPILE_CACHE || NODE_V8_COVERAGE) return null;
  const base = XDG_CACHE_HOME || (HOME && join(HOME, ".cache"));
  if (!base?.startsWith("/")) return null;
  const folder = join(base, "vmexit", "code");
  try {
    // Not by mkdir's "recursive", which does not end below /proc.
    for (const each of [base, dirname(folder), folder]) if (!existsSync(each)) mkdirSync(each, 0o700);
    const { uid, mode } = statSync(folder);
    return uid === process.geteuid?.() && (mode & 0o022) === 0 ? folder : null;
  } catch {
    return null;
  }
}

function read(place: string): Buffer | undefined {
  try {
    return readFileSync(place);
  } catch {
    return undefined;
  }
}

/** A cache that cannot be written is none; the command works without it. */
function write(place: string, code: Uint8Array): void {
  const unfinished = `${place}.${process.pid}.new`;
  try {
    removeOldest(dirname(place));
    writeFileSync(unfinished, code, { mode: 0o600, flush: true });
    renameSync(unfinished, place);
  } catch {
    rmSync(unfinished, { force: true });
  }
}

function removeOldest(folder: string): void {
  const names = readdirSync(folder);
  if (names.length < MOST_FILES) return;
  const files = names.map((name) => ({
    path: join(folder, name),
    time: statSync(join(folder, name)).mtimeMs,
  }));
  files.sort((a, b) => a.time - b.time);
  for (const { path } of files.slice(0, MOST_FILES / 2)) rmSync(path, { force: true });
}
