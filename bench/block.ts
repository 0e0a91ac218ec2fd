/**
 * How fast the library reads and writes images, without a guest:
 * `vmexit/block` in this process against `qemu-img bench`.
 *
 *   npm run bench -- block [--json FILE]
 *
 * The images are in memory, so only the programs' own work is measured. Both access
 * the same offsets in the same order; "random" is a stride that visits no block
 * twice. QEMU runs with depths 1 and 32, with aio=threads and io_uring; the best of
 * the four is the peer. The last rows compare the library with itself: qcow2 with
 * raw.
 */
import { execFileSync } from "node:child_process";
import { openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createImage, openImage, readDisk, writeDisk } from "vmexit/block";
import { scratchFolder } from "./support/guest.ts";
import { median, Results } from "./support/results.ts";

type Format = (typeof FORMATS)[number];

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const KIB = 1024;
const MIB = 2 ** 20;
const DISK = 256 * MIB;
const FORMATS = ["raw", "qcow2"] as const;
/** Odd, so it has no common factor with a number of blocks here; qemu-img allows steps below 2 GiB. */
const STRIDE = 16_383;
/** qcow2's own default. */
const CLUSTER = 64 * KIB;

interface Job {
  readonly what: string;
  readonly write: boolean;
  /** Bytes of a request. */
  readonly block: number;
  /** Bytes from one request to the next; the start of the disk follows its end. */
  readonly step: number;
  readonly count: number;
  /** Whether the image is empty at the start. */
  readonly fresh: boolean;
}

/** Each takes some tenths of a second. */
const random = (block: number) => ({ block, step: block * STRIDE, count: DISK / block / 4, fresh: false });
const inSequence = (block: number) => ({ block, step: block, count: (4 * DISK) / block, fresh: false });
const toNew = (block: number, step: number) => ({ block, step, count: DISK / CLUSTER, fresh: true });

const JOBS: readonly Job[] = [
  { what: "4 KiB random reads", write: false, ...random(4 * KIB) },
  { what: "4 KiB random writes", write: true, ...random(4 * KIB) },
  { what: "64 KiB reads in sequence", write: false, ...inSequence(64 * KIB) },
  { what: "64 KiB writes in sequence", write: true, ...inSequence(64 * KIB) },
  { what: "128 KiB reads in sequence", write: false, ...inSequence(128 * KIB) },
  { what: "128 KiB writes in sequence", write: true, ...inSequence(128 * KIB) },
  {
    what: "4 KiB random writes, each to a new cluster",
    write: true,
    ...toNew(4 * KIB, CLUSTER * STRIDE),
  },
  { what: "64 KiB writes in sequence, to new clusters", write: true, ...toNew(CLUSTER, CLUSTER) },
];

/** One way to do a job, and its measurements. */
interface Runner {
  readonly name: string;
  readonly format: Format;
  /** Seconds. */
  run(job: Job, format: Format, path: string): number;
  readonly rates: number[];
}

const PEERS = ["threads", "io_uring"].flatMap((aio) => [1, 32].map((depth) => ({ aio, depth })));

const folder = scratchFolder();
const filled: Record<Format, string> = { raw: join(folder, "disk.raw"), qcow2: join(folder, "disk.qcow2") };
fillRaw(filled.raw);
execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", filled.raw, filled.qcow2]);

const results = new Results();
for (const job of JOBS) {
  const ours = FORMATS.map(
    (format): Runner => ({ name: `vmexit/block, ${format}`, format, run: library, rates: [] }),
  );
  const peers = FORMATS.flatMap((format) => PEERS.map((peer) => qemuRunner(format, peer)));
  measure(job, [...ours, ...peers]);
  const judged = { better: "higher", goal: 1 } as const;
  for (const { format, rates } of ours) {
    const peer = best(peers.filter((each) => each.format === format));
    const samples = { ours: rates, peer: peer.rates, peerName: peer.name };
    results.add(`${format}: ${job.what}`, unitOf(job), samples, judged);
  }
  if (job.fresh) continue;
  const [raw, qcow2] = ours;
  const samples = { ours: qcow2.rates, peer: raw.rates, peerName: raw.name };
  results.add(`qcow2 against raw: ${job.what}`, unitOf(job), samples, { ...judged, goal: 0.9 });
}
console.log(`block: medians of ${ROUNDS} rounds; images of ${DISK / MIB} MiB in memory`);
results.finish();

/** Runs all ways in turns, with a different one first in each round. */
function measure(job: Job, runners: readonly Runner[]): void {
  for (let round = 0; round <= ROUNDS; round++) {
    for (let i = 0; i < runners.length; i++) {
      const { format, run, rates } = runners[(round + i) % runners.length];
      const rate = perSecond(
        job,
        withImage(job, format, (path) => run(job, format, path)),
      );
      if (round > 0) rates.push(rate); // the first is a warm-up
    }
  }
}

function best(runners: readonly Runner[]): Runner {
  return runners.reduce((a, b) => (median(b.rates) > median(a.rates) ? b : a));
}

function unitOf({ block }: Job): string {
  return block === 4 * KIB ? "IOPS" : "MiB/s";
}

function perSecond(job: Job, seconds: number): number {
  const requests = job.count / seconds;
  return unitOf(job) === "IOPS" ? requests : (requests * job.block) / MIB;
}

/** Runs `use` with an image: the filled one, or an empty one that is deleted afterwards. */
function withImage(job: Job, format: Format, use: (path: string) => number): number {
  if (!job.fresh) return use(filled[format]);
  const path = join(folder, `fresh.${format}`);
  createImage(path, { format, size: DISK });
  try {
    return use(path);
  } finally {
    rmSync(path);
  }
}

/** The seconds that the library takes. */
function library(job: Job, format: Format, path: string): number {
  using image = openImage(path, { format, readOnly: !job.write });
  const bytes = new Uint8Array(job.block).fill(0x5a);
  const start = performance.now();
  for (let i = 0, at = 0; i < job.count; i++, at = (at + job.step) % DISK) {
    if (job.write) writeDisk(image, bytes, at);
    else readDisk(image, bytes, at);
  }
  return (performance.now() - start) / 1000;
}

/** The time is QEMU's own, without the start and end of its process. */
function qemuRunner(format: Format, { aio, depth }: (typeof PEERS)[number]): Runner {
  const run = (job: Job, _format: Format, path: string) => {
    const args = ["bench", "-f", format, "-i", aio, "-d", depth, "-c", job.count, "-s", job.block];
    const how = ["-S", job.step, ...(job.write ? ["-w", "--pattern=90"] : []), path];
    const text = execFileSync("qemu-img", [...args, ...how].map(String), { encoding: "utf8" });
    const seconds = Number(/completed in ([\d.]+) seconds/.exec(text)?.[1]);
    if (!(seconds > 0)) throw new Error(`qemu-img bench printed ${text}`);
    return seconds;
  };
  return { name: `qemu-img bench, ${aio}, depth ${depth}`, format, run, rates: [] };
}

/** A disk without holes and without zeros. */
function fillRaw(path: string): void {
  const fd = openSync(path, "w");
  const chunk = Buffer.alloc(MIB, 0xa5);
  for (let i = 0; i < DISK / MIB; i++) writeSync(fd, chunk);
}
