/**
 * From a fresh clone to something that runs: packages, npm's modules, the addon,
 * the TypeScript, the guest. A step that was done before does nothing.
 *
 *   node scripts/setup.mjs PURPOSE...     installs packages (see setup-packages.mjs)
 *
 * Only Node's own modules are imported here: nothing else is installed yet.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ensurePackages } from "./setup-packages.mjs";

export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
/** Held while something is built: `npm start` and `npm test` may well run at once. */
const LOCK = join(root, "node_modules/.build-lock");
const ADDON = join(root, "build/Release/vmexit.node");

/** Runs a step whose output matters only to someone who watches; throws when it fails. */
function step(what, command, args) {
  console.error(`setup: ${what}`);
  // Standard output is for the results of the caller.
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error(`${what}: ${error?.message ?? `${command} ended with status ${status}`}`);
}

function ensureModules() {
  // Those of the workspace packages are installed for all.
  const packages = readdirSync(join(root, "packages")).map((name) => join("packages", name));
  const names = [".", ...packages].flatMap((folder) => {
    const { dependencies, devDependencies } = JSON.parse(
      readFileSync(join(root, folder, "package.json"), "utf8"),
    );
    return Object.keys({ ...dependencies, ...devDependencies });
  });
  if (names.every((name) => existsSync(join(root, "node_modules", name)))) return;
  step("installing npm's modules", "npm", ["ci", "--no-audit", "--no-fund"]);
}

/** The addon is older than something it is made of, or not there. */
function addonIsStale() {
  if (!existsSync(ADDON)) return true;
  const built = statSync(ADDON).mtimeMs;
  const sources = readdirSync(join(root, "native")).map((name) => join(root, "native", name));
  return [...sources, join(root, "binding.gyp")].some((path) => statSync(path).mtimeMs > built);
}

/** `what` is a folder with a tsconfig.json. */
function ensureBuild(what) {
  if (addonIsStale()) {
    // By npm, whose settings may name a folder with Node's headers, for machines that cannot download them.
    const gyp = ["npm", "exec", "--no", "--", "node-gyp", "configure", "build", "--loglevel=warn"];
    step("building the addon", "flock", [LOCK, ...gyp]);
    if (addonIsStale()) throw new Error(`node-gyp left no new ${ADDON}`);
  }
  // The bundles need the page of trace reports too. Its project refers to those before it.
  const projects = [what, "packages/trace-report/page"];
  step("compiling TypeScript", "flock", [LOCK, join(root, "node_modules/.bin/tsc"), "-b", ...projects]);
  step("bundling", "flock", [LOCK, process.execPath, join(root, "scripts/bundle.mjs")]);
  step("assembling the demos' guests", "flock", [LOCK, process.execPath, join(root, "scripts/assemble.mjs")]);
}

/** Makes the guest, if it is not there, and returns its folder (lab/guest/build). */
export function guestFolder() {
  return made("lab/guest/build");
}

/** Makes a PC's disk with a boot loader, if it is not there, and returns its path (lab/pc-disk/build). */
export function pcDisk() {
  return made("lab/pc-disk/build");
}

/** Makes CDs and a disk with other boot loaders, if they are not there, and returns their folder (lab/pc-media/build). */
export function pcMedia() {
  return made("lab/pc-media/build");
}

/** @param {string} script prints the path of what it made */
function made(script) {
  const { status, stdout } = spawnSync(join(root, script), {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) throw new Error(`${script} failed: its errors are above`);
  return stdout.trim();
}

/**
 * Does all that `purposes` need, and compiles vmexit itself or all TypeScript.
 *
 * @param {ReadonlyArray<import("./setup-packages.mjs").Purpose>} purposes
 * @param {"src" | "."} what
 */
export function setUp(purposes, what) {
  ensurePackages(["build", ...purposes]);
  ensureModules();
  ensureBuild(what);
}

/** What this machine's KVM is good for. */
export function hostKvm() {
  let opens = false;
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    opens = true;
  } catch {
    // It does not exist, or this user may not open it: `vmexit probe` reports which.
  }
  // On software KVM tiny guests run; a stock Linux kernel does not.
  const hardware = opens && /^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "utf8"));
  return { opens, hardware };
}

/**
 * The command line that runs a command in the lab, in this folder.
 *
 * @param {readonly string[]} options lab/lab's
 * @param {readonly string[]} command
 */
export function inLab(options, command) {
  const passed = ["GUEST_DIR", "PC_DISK", "PC_MEDIA"].flatMap((name) => ["--env", `VMEXIT_${name}`]);
  return [join(root, "lab/lab"), "--cwd", root, ...passed, ...options, "--", ...command];
}

/** Runs a command on our own input, and output unless a descriptor is given for it. Resolves to its exit status. */
export function run([command, ...args], output = undefined) {
  return new Promise((resolve, reject) => {
    const stdio = output === undefined ? "inherit" : ["ignore", output, output];
    const child = spawn(command, args, { cwd: root, stdio });
    // Ctrl-C reaches the child too, and its exit status becomes ours.
    const ignore = () => {};
    process.on("SIGINT", ignore);
    child.on("error", reject);
    child.on("close", (status, signal) => {
      process.off("SIGINT", ignore);
      resolve(signal === null ? status : 128);
    });
  });
}

/** Runs a script's main function: an error is one sentence, and exit status 1. */
export async function main(name, body) {
  try {
    process.exitCode = (await body(process.argv.slice(2))) ?? 0;
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exitCode = 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main("setup", (purposes) => ensurePackages(purposes));
}
