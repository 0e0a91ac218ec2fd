import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

let root = "";
let program = "";
let cache = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "vmexit-code-cache-"));
  program = join(root, "program");
  cache = join(root, "cache/vmexit/code");
  mkdirSync(program);
  vi.stubEnv("XDG_CACHE_HOME", join(root, "cache"));
  vi.stubEnv("NODE_V8_COVERAGE", "");
  vi.stubEnv("NODE_DISABLE_COMPILE_CACHE", "");
  write(
    "a.js",
    'exports.name="a";const b=require("./b.js");exports.sum=()=>b.one()+require("node:path").sep',
  );
  write("b.js", 'const a=require("./a.js");exports.one=()=>a.name+1');
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(program, name), text);
}

/** What a process of its own would do: runs a.js, and saves the code of what was loaded. */
async function run(): Promise<string> {
  vi.resetModules();
  const { cachedRequire, saveCode } = await import("../../../src/sys/code-cache.ts");
  const others = createRequire(join(program, "main.js"));
  const a: unknown = cachedRequire(program, others)("./a.js");
  const sum: unknown = Reflect.get(Object(a), "sum")();
  saveCode();
  return String(sum);
}

const saved = () => readdirSync(cache).map((name) => join(cache, name));

test("files run, and run again with the code that was saved the first time", async () => {
  expect(await run()).toBe("a1/");
  const files = saved();
  expect(files.length).toBe(2);
  const before = files.map((file) => statSync(file).ino);
  expect(await run()).toBe("a1/");
  expect(saved()).toEqual(files);
  expect(files.map((file) => statSync(file).ino)).toEqual(before);
});

test("a file that was changed runs as it is now, also if it is as long as before", async () => {
  expect(await run()).toBe("a1/");
  const path = join(program, "b.js");
  rmSync(path);
  write("b.js", 'const a=require("./a.js");exports.one=()=>a.name+2');
  expect(await run()).toBe("a2/");
});

test("code that V8 does not take is made anew", async () => {
  await run();
  // A file that this process has not compiled: V8 remembers those, and reads no code for them.
  write("b.js", 'const a=require("./a.js");exports.one=()=>a.name+"new"');
  const { size, ino, ctimeMs } = statSync(join(program, "b.js"));
  const place = join(cache, `b.js-${process.version}-${process.arch}-${size}-${ino}-${ctimeMs}`);
  writeFileSync(place, "not code");
  expect(await run()).toBe("anew/");
  expect(readFileSync(place).length).toBeGreaterThan(100);
});

test("a folder that others can write is not used", async () => {
  mkdirSync(cache, { recursive: true });
  chmodSync(cache, 0o777);
  expect(await run()).toBe("a1/");
  expect(saved()).toEqual([]);
});

test.each([
  ["NODE_DISABLE_COMPILE_CACHE", "1"],
  ["NODE_V8_COVERAGE", "/tmp/coverage"],
  ["XDG_CACHE_HOME", "relative"],
  ["XDG_CACHE_HOME", "/proc/nothing/can/be/made/here"],
])("with %s=%s files run without a cache", async (name, value) => {
  vi.stubEnv(name, value);
  expect(await run()).toBe("a1/");
  expect(existsSync(cache)).toBe(false);
});

test("a file that throws throws each time it is required", async () => {
  write("a.js", 'throw new Error("not today")');
  for (let round = 0; round < 2; round++) await expect(run()).rejects.toThrow("not today");
});

test("the folder does not grow without end", async () => {
  await run();
  for (let n = 0; n < 70; n++) writeFileSync(join(cache, `old-${n}`), "");
  write("b.js", 'const a=require("./a.js");exports.one=()=>a.name+"longer"');
  expect(await run()).toBe("alonger/");
  expect(saved().length).toBeLessThanOrEqual(64);
});
