/**
 * How fast a guest reads its IDE disk: 128 KiB by DMA in sequence, and 4 KiB at random.
 *
 *   npm run bench -- ide [--json FILE]
 *
 * The peer is QEMU's pc with the same kernel and drivers, and an image in memory of its own, through the
 * host's page cache. The guests run in turns; those that wait are in HLT. An IDE disk has one request in
 * flight, whatever the guest queues.
 */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import type { Load } from "./support/blk-matrix.ts";
import { compileLoad, DiskUser, filledDisk, type Sample } from "./support/disk-load.ts";
import { bootArguments, findGuest, findPcMedia, obey, scratchFolder, withProgram } from "./support/guest.ts";
import { qemu, vmexit } from "./support/monitor.ts";
import { Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 3);
const SECONDS = 2;
/** In the lab V8 takes this long until it has optimized the code that a load needs. */
const WARM_UP_SECONDS = 5;
const KIB = 1024;
const MIB = 2 ** 20;
const DISK_MIB = 128;
const DEVICE = "/dev/sda";
/** Of QEMU's rate. */
const GOAL = 1.2;

const LOADS: readonly Load[] = [
  { name: "read", what: "128 KiB reads in sequence, depth 1", mode: "read", block: 128 * KIB, depth: 1 },
  { name: "randread", what: "4 KiB random reads, depth 1", mode: "randread", block: 4 * KIB, depth: 1 },
];

const scratch = scratchFolder();
const filled = filledDisk(scratch, DISK_MIB);
const initrd = withProgram(findPcMedia().initrd, compileLoad(scratch), "blk-load", scratch);
const boot = bootArguments(findGuest().vmlinuz, initrd, obey);

function disk(name: string): string[] {
  const file = join(scratch, `${name}.raw`);
  copyFileSync(filled, file);
  return ["-drive", `file=${file},format=raw,if=ide,index=0`];
}

const ours = new DiskUser("vmexit", vmexit("-M", "pc", ...boot, ...disk("ours")), DEVICE);
const peer = new DiskUser(
  "QEMU pc",
  qemu("pc", "-M", "pc", "-vga", "none", "-display", "none", ...boot, ...disk("qemu")),
  DEVICE,
);
const results = new Results();
for (const load of LOADS) {
  for (const each of [ours, peer]) {
    each.samples = [];
    await each.run(load, WARM_UP_SECONDS);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const each of [ours, peer]) each.samples.push(await each.run(load, SECONDS));
  }
  const add = (what: string, unit: string, of: (sample: Sample) => number, goal?: number) => {
    const samples = { ours: ours.value(of), peer: peer.value(of), peerName: peer.name };
    const isRate = goal !== undefined;
    results.add(what, unit, samples, { better: isRate ? "higher" : "lower", ...(isRate && { goal }) });
  };
  const [unit, scale] = load.block < MIB / 10 ? ["IOPS", 1] : ["MiB/s", load.block / MIB];
  add(load.what, unit, ({ perSecond }) => perSecond * scale, GOAL);
  add(`${load.what}: exits to user space`, "per request", ({ runs }) => runs);
  add(`${load.what}: the monitor's CPU per million`, "s", ({ cpu }) => cpu);
}
await Promise.all([ours, peer].map(({ guest }) => guest.stop()));
console.log(`ide: medians of ${ROUNDS} rounds of ${SECONDS} s; an image of ${DISK_MIB} MiB in memory\n`);
results.finish();
