/**
 * Builds the addon that the package carries: prebuilds/linux-x64/vmexit.node, for x86-64 Linux with glibc 2.28
 * or later and all versions of Node, unless it is newer than its sources. npm pack runs it; so does npm run
 * build, because of its name.
 *
 *   npm run prebuild
 *
 * It differs from the build of binding.gyp in three ways. Node-API's headers come from the package
 * node-api-headers, so that nothing is downloaded. libstdc++ is linked statically. References to newer
 * versions of glibc are replaced (native/old_glibc.cc), and the result is checked for them.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);
const OLDEST_GLIBC = [2, 28];
const folder = join(root, "prebuilds/linux-x64");
const target = join(folder, "vmexit.node");

/** Whether the addon is newer than all that it is made from. */
function isCurrent() {
  if (!existsSync(target)) return false;
  const made = statSync(target).mtimeMs;
  const native = readdirSync(join(root, "native")).map((name) => `native/${name}`);
  const from = [...native, "binding.gyp", "package-lock.json", "scripts/prebuild.mjs"];
  return from.every((name) => statSync(join(root, name)).mtimeMs < made);
}

/** What binding.gyp gives the compiler, by name. */
function gypTarget() {
  const text = readFileSync(join(root, "binding.gyp"), "utf8");
  const json = text.replace(/^\s*#.*$/gm, "").replace(/,(\s*[\]}])/g, "$1");
  return JSON.parse(json).targets[0];
}

/** The functions that old_glibc.cc wraps. */
function wrapped() {
  const text = readFileSync(join(root, "native/old_glibc.cc"), "utf8");
  const bound = [...text.matchAll(/^BOUND_TO\("[^"]+", (\w+)\)/gm)].map(([, name]) => name);
  const replaced = [...text.matchAll(/\b__wrap_(\w+)(?:\(| = 0)/g)].map(([, name]) => name);
  return [...new Set([...bound, ...replaced])];
}

/** "GLIBC_2.34 pthread_create" for each symbol that OLDEST_GLIBC does not have. */
function tooNew(file) {
  const symbols = execFileSync("objdump", ["-T", file], { encoding: "utf8" });
  const found = [...symbols.matchAll(/\(?(GLIBC_(\d+)\.(\d+)[\d.]*|GLIBCXX_\S+|CXXABI_\S+?)\)? +(\S+)$/gm)];
  return found
    .filter(([, , major, minor]) => major === undefined || major > OLDEST_GLIBC[0] || minor > OLDEST_GLIBC[1])
    .map(([, version, , , name]) => `${version} ${name}`);
}

if (isCurrent()) process.exit();
const { defines, cflags_cc: flags } = gypTarget();
const sources = readFileSync(join(root, "native/sources.txt"), "utf8").trim().split("\n");
const unfinished = `${target}.${process.pid}`;
mkdirSync(folder, { recursive: true });
const command = [
  ...[...flags, "-O2", "-fPIC", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"],
  // The same bytes in any folder.
  ...[`-ffile-prefix-map=${root}=`, "-Wl,--build-id=sha1"],
  ...[...defines, "NODE_GYP_MODULE_NAME=vmexit", "BUILDING_NODE_EXTENSION"].map((name) => `-D${name}`),
  ...["-isystem", require("node-api-headers").include_dir],
  ...["-isystem", JSON.parse(`"${require("node-addon-api").include_dir}"`)],
  ...["-shared", "-static-libstdc++", "-static-libgcc", "-Wl,--gc-sections", "-s", "-o", unfinished],
  ...wrapped().map((name) => `-Wl,--wrap=${name}`),
  ...[...sources, "native/old_glibc.cc", "-pthread"],
];
execFileSync(process.env.CXX ?? "g++", command, { cwd: root, stdio: "inherit" });
const newer = tooNew(unfinished);
if (newer.length > 0) {
  console.error(
    `prebuild: glibc ${OLDEST_GLIBC.join(".")} lacks: ${newer.join(", ")}; see native/old_glibc.cc`,
  );
  process.exit(1);
}
renameSync(unfinished, target);
