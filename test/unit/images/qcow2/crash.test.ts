/**
 * A program that is killed while it writes: QEMU finds nothing damaged, leaks
 * can be mended, and what was flushed is there.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { readDisk } from "../../../../src/disk/image.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { type CreateOptions, createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { qemuCheck } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

const WRITER = fileURLToPath(new URL("../../../support/qcow2-writer.mjs", import.meta.url));
/** Crashes of each image. VMEXIT_QCOW2_CRASHES asks for more. */
const CRASHES = Number(process.env.VMEXIT_QCOW2_CRASHES ?? 4);

const MIB = 2 ** 20;
const SECTOR = 512;

const folder = mkdtempSync(join(tmpdir(), "vmexit-qcow2-crash-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** When a writer is killed: so long after it began, or before so many more writes to the file. */
type Moment = { readonly ms: number } | { readonly writes: number };

/** Runs the writer until it is killed. Returns what it said. */
async function crash(path: string, seed: number, moment: Moment): Promise<string[]> {
  const writes = "writes" in moment ? [String(moment.writes)] : [];
  const child = spawn(process.execPath, [WRITER, path, String(seed), ...writes], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  let complaint = "";
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on("data", (chunk) => {
    said += chunk;
    if ("ms" in moment) timer ??= setTimeout(() => child.kill("SIGKILL"), moment.ms);
  });
  child.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  const signal = await new Promise((resolve) => child.once("close", (_code, signal) => resolve(signal)));
  clearTimeout(timer);
  if (signal !== "SIGKILL") throw new Error(`the writer ended by itself: ${complaint}`);
  return said.split("\n").slice(0, -1);
}

/** What each sector may hold: what it had at the last flush, and everything since. */
class Expected {
  /** By sector: the tags that it may have after all that was said. A discard leaves two. */
  readonly #now: Set<number>[];
  /** And those that it may have had at any moment since the last flush. */
  readonly #since: Set<number>[];

  constructor(disk: Uint8Array) {
    const words = new Uint32Array(disk.buffer);
    this.#now = Array.from({ length: disk.length / SECTOR }, (_, i) => new Set([words[i * 128]]));
    this.#since = this.#now.map((tags) => new Set(tags));
  }

  replay(said: readonly string[]): void {
    for (const line of said) {
      const [what, tag, first, count] = line.split(" ");
      if (what === "flush")
        this.#now.forEach((tags, i) => {
          if (this.#since[i].size > tags.size) this.#since[i] = new Set(tags);
        });
      for (let sector = Number(first); sector < Number(first) + Number(count); sector++) {
        if (what !== "discard") this.#now[sector].clear();
        this.#now[sector].add(Number(tag));
        this.#since[sector].add(Number(tag));
      }
    }
  }

  wrong(disk: Uint8Array): string[] {
    const words = new Uint32Array(disk.buffer);
    return this.#since.flatMap((tags, sector) => {
      const own = words.subarray(sector * 128, (sector + 1) * 128);
      const whole = tags.has(own[0]) && own.every((word) => word === own[0]);
      return whole ? [] : [`sector ${sector} holds ${own[0]}, not one of ${[...tags]}`];
    });
  }
}

test.each<[string, CreateOptions]>([
  ["small clusters", { size: 4 * MIB, clusterSize: 512 }],
  ["clusters of 4 KiB with narrow refcounts", { size: 16 * MIB, clusterSize: 4096, refcountBits: 1 }],
  ["clusters of 64 KiB", { size: 48 * MIB }],
  ["version 2", { size: 16 * MIB, version: 2, clusterSize: 4096 }],
  ["a backing file", { size: 16 * MIB, clusterSize: 8192, backingFile: "base.raw", backingFormat: "raw" }],
  [
    "subclusters over a backing file",
    { size: 16 * MIB, extendedL2: true, backingFile: "base.raw", backingFormat: "raw" },
  ],
  ["lazy refcounts", { size: 8 * MIB, clusterSize: 2048, lazyRefcounts: true }],
])(
  "a crash damages nothing and loses nothing that was flushed: %s",
  { timeout: 600_000 },
  async (name, options) => {
    const path = join(folder, `${name.replaceAll(" ", "-")}.qcow2`);
    writeFileSync(
      join(folder, "base.raw"),
      new Uint8Array(new Uint32Array((12 * MIB) / 4).fill(0xba5e).buffer),
    );
    createQcow2(path, options);
    const draw = random(name.length);
    for (let round = 0; round < CRASHES; round++) {
      const before = openQcow2(path);
      const disk = new Uint8Array(before.size);
      readDisk(before, disk, 0);
      before.close();
      const expected = new Expected(disk);
      const moment =
        round % 2 === 0
          ? { writes: Math.floor(draw() ** 2 * 1500) }
          : { ms: draw() * (round % 4 === 3 ? 600 : 80) };
      const said = await crash(path, Math.floor(draw() * 2 ** 31), moment);
      if (options.lazyRefcounts !== true) {
        const verdict = qemuCheck(path);
        expect(verdict, verdict.output).toMatchObject({ corruptions: 0, errors: 0 });
      }
      expected.replay(said);
      const image = openQcow2(path);
      expect(checkQcow2(image, { repair: "leaks" })).toMatchObject({ corruptions: 0, leaks: 0 });
      readDisk(image, disk, 0);
      image.close();
      expect(expected.wrong(disk), `round ${round}`).toEqual([]);
      expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
    }
  },
);
