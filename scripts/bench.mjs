/**
 * Builds and runs a benchmark, in the lab where it needs hardware KVM and there is none.
 *
 *   npm run bench -- NAME [--json FILE] [ARGUMENT...]
 *
 * Absolute times in the lab mean nothing; each benchmark prints a ratio of two programs
 * measured in one run. FILE gets [{ what, unit, ours, peer, peerName, ratio, better, goal }].
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { guestFolder, hostKvm, inLab, main, root, run, setUp } from "./setup.mjs";

/** What each benchmark runs on: a tiny guest on any KVM, or Linux on hardware KVM. */
const BENCHMARKS = { exit: "any", boot: "hardware", serial: "hardware", blk: "hardware" };

/** Seconds a benchmark may take in the lab. */
const PATIENCE = 3600;

await main("bench", async ([name, ...args]) => {
  const needs = BENCHMARKS[name];
  if (needs === undefined) {
    console.error(
      `usage: npm run bench -- NAME [--json FILE]\n\nNAME is one of: ${Object.keys(BENCHMARKS).join(", ")}`,
    );
    return 2;
  }
  const { opens, hardware } = hostKvm();
  const here = needs === "any" ? opens : hardware;
  // The peer is QEMU, in the lab or not.
  setUp(["guest", "lab"], ".");
  process.env.VMEXIT_GUEST_DIR ??= guestFolder();

  const script = join(root, "build/tools/bench", `${name}.js`);
  if (!existsSync(script)) throw new Error(`there is no bench/${name}.ts`);
  if (here) return run([process.execPath, script, ...args]);

  console.error(`bench: no ${needs === "any" ? "" : "hardware "}KVM here; measuring in the lab`);
  const results = mkdtempSync(join(tmpdir(), "vmexit-bench-"));
  try {
    const at = args.indexOf("--json");
    const file = at >= 0 && args[at + 1] !== undefined ? resolve(args[at + 1]) : undefined;
    if (file !== undefined) args[at + 1] = "/out/result.json";
    const options = ["--no-tty", "-n", "--retries", "2", "--timeout", `${PATIENCE}`, "--share", results];
    options.push("--env", "VMEXIT_BENCH_ROUNDS");
    const status = await run(inLab(options, [process.execPath, script, ...args]));
    const made = join(results, "result.json");
    if (file !== undefined && existsSync(made)) copyFileSync(made, file);
    return status;
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
});
