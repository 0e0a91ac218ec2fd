/**
 * Builds and runs a benchmark, in the lab where it needs hardware KVM and there is none.
 *
 *   npm run bench -- NAME [--json FILE] [ARGUMENT...]
 *
 * Absolute times in the lab mean nothing. Each benchmark prints a ratio of two programs
 * measured in one run. FILE gets [{ what, unit, ours, peer, peerName, ratio, better, goal }].
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { guestFolder, hostKvm, inLab, main, pcDisk, pcMedia, root, run, setUp } from "./setup.mjs";

/**
 * What each benchmark runs on: no KVM at all, a tiny guest on any, or Linux on hardware KVM. One with
 * `pieces` prints their names with --pieces, and takes --piece NAME: each piece gets its own lab.
 *
 * `native` has an addon of its own; `make` makes what it needs besides the guest.
 *
 * @type {Record<string, { kvm: "none" | "any" | "hardware", native?: true, pieces?: true, make?: () => string, usage?: string }>}
 */
const BENCHMARKS = {
  exit: { kvm: "any", native: true },
  boot: { kvm: "hardware" },
  "boot-pc": { kvm: "hardware", make: pcDisk, usage: "[ide] [virtio]   which disk" },
  ide: { kvm: "hardware", make: pcMedia },
  serial: { kvm: "hardware" },
  blk: { kvm: "hardware", pieces: true, usage: "[FILTER...]   rows whose name contains each FILTER" },
  net: {
    kvm: "hardware",
    pieces: true,
    usage: "[FILTER...]   networks whose name contains each FILTER: user, tap",
  },
  snapshot: { kvm: "hardware" },
  fork: { kvm: "any" },
  start: { kvm: "any" },
  density: { kvm: "any", usage: "[--machines N] [--threads own]" },
  block: { kvm: "none" },
  convert: { kvm: "none", usage: "[FOLDER...]   where the images are; by default in memory and on disk" },
};

/** Seconds that a benchmark, or a piece of one, may take in the lab; and how often the lab may die under it. */
const PATIENCE = 3600;
const LAB_RETRIES = 2;

function usage() {
  const names = Object.entries(BENCHMARKS).map(([name, { usage = "" }]) => `  ${name.padEnd(8)} ${usage}`);
  return `usage: npm run bench -- NAME [--json FILE] [ARGUMENT...]\n\nNAME is one of:\n${names.join("\n")}

VMEXIT_BENCH_ROUNDS=N sets how often each thing is measured; the medians count.`;
}

/** Takes `--json FILE` out of the arguments. */
function takeJson(args) {
  const at = args.indexOf("--json");
  if (at < 0) return undefined;
  const [, file] = args.splice(at, 2);
  if (file === undefined) throw new Error("--json needs a file");
  return resolve(file);
}

/** One lab run of a benchmark. Its JSON, if it made any, is in `made`. */
async function measureInLab(script, args, results) {
  const made = join(results, "result.json");
  rmSync(made, { force: true });
  const limits = ["--timeout", `${PATIENCE}`, "--retries", `${LAB_RETRIES}`];
  const options = ["--no-tty", "-n", ...limits, "--env", "VMEXIT_BENCH_ROUNDS", "--share", results];
  const command = [process.execPath, script, ...args, "--json", "/out/result.json"];
  const status = await run(inLab(options, command));
  return { status, made: existsSync(made) ? made : undefined };
}

/** Builds bench/native. By npm, whose settings say where Node's headers are when they cannot be downloaded. */
function buildNative() {
  const gyp = [
    "node-gyp",
    "configure",
    "build",
    "--loglevel=warn",
    "--directory",
    join(root, "bench/native"),
  ];
  const { status } = spawnSync("npm", ["exec", "--no", "--", ...gyp], { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error("building bench/native failed");
}

function piecesOf(script, args) {
  const { status, stdout } = spawnSync(process.execPath, [script, "--pieces", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  return status === 0 ? stdout.trim().split("\n") : undefined;
}

/** Piece by piece, so that a lab that dies costs one of them. */
async function measurePieces(script, args, results, json) {
  const pieces = piecesOf(script, args);
  if (pieces === undefined) return 2;
  const rows = [];
  const failed = [];
  for (const piece of pieces) {
    console.error(`bench: ${piece}`);
    const { status, made } = await measureInLab(script, ["--piece", piece, ...args], results);
    if (status !== 0) failed.push(piece);
    if (made === undefined) continue;
    rows.push(...JSON.parse(readFileSync(made, "utf8")));
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`);
  }
  if (failed.length > 0) console.error(`bench: not measured: ${failed.join(", ")}`);
  return failed.length > 0 ? 1 : 0;
}

await main("bench", async ([name, ...args]) => {
  const benchmark = Object.hasOwn(BENCHMARKS, name ?? "") ? BENCHMARKS[name] : undefined;
  if (benchmark === undefined) {
    console.error(usage());
    return 2;
  }
  const { kvm, native, pieces, make } = benchmark;
  const { opens, hardware } = hostKvm();
  const here = kvm === "none" || (kvm === "any" ? opens : hardware);
  // The peer is QEMU or its image tool, in the lab or not.
  setUp(kvm === "none" ? ["image"] : ["guest", "lab", "image", "net", ...(make ? ["test"] : [])], ".");
  if (native) buildNative();
  if (kvm !== "none") process.env.VMEXIT_GUEST_DIR ??= guestFolder();
  make?.();

  const script = join(root, "build/tools/bench", `${name}.js`);
  if (!existsSync(script)) throw new Error(`there is no bench/${name}.ts`);
  if (here) return run([process.execPath, script, ...args]);

  console.error(`bench: no ${kvm === "any" ? "" : "hardware "}KVM here; measuring in the lab`);
  const results = mkdtempSync(join(tmpdir(), "vmexit-bench-"));
  try {
    const json = takeJson(args);
    if (pieces) return await measurePieces(script, args, results, json);
    const { status, made } = await measureInLab(script, args, results);
    if (json !== undefined && made !== undefined) copyFileSync(made, json);
    return status;
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
});
