/**
 * A machine whose process is killed while its guest writes to a qcow2 image: QEMU finds
 * nothing damaged, `vmexit img check` mends the leaks, and what the guest flushed is there.
 */
import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CreateOptions } from "../../dist/images/qcow2/create.js";
import { createQcow2 } from "../../dist/images/qcow2/create.js";
import { patience } from "../../lab/patience.mjs";
import { PER_FLUSH, wrongBlocks } from "../support/disk-changes.ts";
import { buildKernel } from "../support/multiboot-build.ts";
import { qemuCheck, qemuContents, qemuImg } from "../support/qemu-tools.ts";
import { random } from "../support/random.ts";

const PROGRAM = fileURLToPath(new URL("../support/changing-guest.mjs", import.meta.url));
const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));

const MIB = 2 ** 20;
const SIZE = 16 * MIB;
/** What the backing file is full of: no change has this number. */
const BASE = 0xffff_ffff;
/** Flushes that a guest may have done and more that nobody heard of. */
const AHEAD = 2;
/** What the kernel may take to close the files of a process that was killed. */
const UNLOCK_MS = 10_000;

/** Crashes, of all images together. VMEXIT_CRASH_ROUNDS asks for more. */
const ROUNDS = Number(process.env.VMEXIT_CRASH_ROUNDS ?? 20);

/** Crashes of an image before the next one takes its place. */
const ROUNDS_PER_IMAGE = 3;

/** On a disk, where there is one: files in memory have no O_DIRECT. */
const folder = mkdtempSync("/var/tmp/vmexit-crash-");
const kernel = join(folder, "kernel.elf");
const direct = takesDirect(folder) ? "none" : "writethrough";
const IMAGES: [string, CreateOptions, string][] = [
  ["clusters of 64 KiB", { size: SIZE }, "writeback"],
  ["small clusters", { size: SIZE, clusterSize: 4096, refcountBits: 1 }, "writeback"],
  ["lazy refcounts", { size: SIZE, clusterSize: 2048, lazyRefcounts: true }, "writeback"],
  [
    "subclusters over a backing file",
    { size: SIZE, extendedL2: true, backingFile: "base.raw", backingFormat: "raw" },
    "writeback",
  ],
  [`cache=${direct}`, { size: SIZE, clusterSize: 4096 }, direct],
];
beforeAll(() => {
  buildKernel("blk-kernel.c", kernel);
  writeFileSync(join(folder, "base.raw"), new Uint32Array(SIZE / 8).fill(BASE));
});
afterAll(() => rmSync(folder, { recursive: true }));

function takesDirect(folder: string): boolean {
  const file = join(folder, "direct");
  try {
    closeSync(openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT));
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EINVAL") return false;
    throw error;
  }
}

/** Runs a guest from change `first` on, and kills it so long after so many flushes. Returns those it told of. */
async function crash(image: string, cache: string, first: number, flushes: number, ms: number) {
  const child = spawn(process.execPath, [PROGRAM, kernel, image, cache, String(first), String(AHEAD)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  let complaint = "";
  let dying = false;
  child.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  child.stdout.on("data", (chunk) => {
    said += chunk;
    if (dying || said.split("\n").length < flushes + 2) return; // "ready", and what follows the last line
    dying = true;
    sleep(ms).then(() => child.kill("SIGKILL"));
  });
  const signal = await new Promise((resolve) => child.once("close", (_code, signal) => resolve(signal)));
  expect(complaint).toBe("");
  expect(signal).toBe("SIGKILL");
  const [ready, ...reports] = said.split("\n").slice(0, -1);
  expect(ready).toBe("ready");
  return reports.map((report) => {
    const [, number] = /^flushed ([0-9a-f]{8})$/.exec(report) ?? expect.fail(`the guest says "${report}"`);
    return Number.parseInt(number, 16);
  });
}

/**
 * Settles when nobody has the image open. The kernel takes an io_uring apart after the process
 * has ended, and until then its files stay open, and locked.
 */
async function unlocked(image: string): Promise<void> {
  for (const end = Date.now() + patience(UNLOCK_MS); ; await sleep(10)) {
    try {
      qemuImg("info", image);
      return;
    } catch (error) {
      if (Date.now() > end || !/lock/.test(String(error))) throw error;
    }
  }
}

test.each(IMAGES)(
  "a crash damages nothing and loses nothing that the guest flushed: %s",
  { timeout: patience(60_000 + 20_000 * ROUNDS) },
  async (name, options, cache) => {
    const image = join(folder, `${name.replaceAll(" ", "-")}.qcow2`);
    const draw = random(name.length);
    const counts = { rounds: Math.ceil(ROUNDS / IMAGES.length), changes: 0, leaks: 0 };
    // Numbers of changes grow over all rounds: what a block holds tells when it was written.
    let first = PER_FLUSH;
    for (let round = 0; round < counts.rounds; round++) {
      // Where everything is allocated, little is left to go wrong.
      if (round % ROUNDS_PER_IMAGE === 0) {
        rmSync(image, { force: true });
        createQcow2(image, options);
      }
      const before = qemuContents(image);
      const reports = await crash(image, cache, first, Math.floor(draw() ** 2 * 30), draw() * 40);
      await unlocked(image);
      const flushed = reports.at(-1) ?? first;
      // AHEAD flushes that nobody heard of, and what began after them.
      const end = first + PER_FLUSH * (reports.length + AHEAD + 1);
      if (options.lazyRefcounts !== true) {
        const verdict = qemuCheck(image);
        expect(verdict, verdict.output).toMatchObject({ corruptions: 0, errors: 0 });
        counts.leaks += verdict.leaks;
      }
      expect(wrongBlocks(before, qemuContents(image), { first, flushed, end }), `round ${round}`).toEqual([]);
      // Lazy refcounts are those that a crash may leave behind: the image says so, and they are counted anew.
      const mend = options.lazyRefcounts === true ? "all" : "leaks";
      execFileSync(process.execPath, [MAIN, "img", "check", "-q", "-r", mend, image], { stdio: "pipe" });
      const mended = qemuCheck(image);
      expect(mended, mended.output).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
      // And mending changed nothing that the guest sees.
      expect(wrongBlocks(before, qemuContents(image), { first, flushed, end }), `round ${round}`).toEqual([]);
      counts.changes += flushed - first;
      first = end;
    }
    expect(counts.changes).toBeGreaterThan(0);
    if (process.env.VMEXIT_CRASH_ROUNDS !== undefined) console.log(name, counts);
  },
);
