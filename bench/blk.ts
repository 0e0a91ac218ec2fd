/**
 * How fast a guest reads and writes its disk: 4 KiB random reads at depth 1 and
 * 32, and 128 KiB reads and writes one after the other; and what that costs the
 * host's CPUs.
 *
 *   npm run bench -- blk [--json FILE]
 *
 * Against QEMU's pc with virtio-blk-pci and io_uring. The disk is a raw file in
 * memory, through the page cache in both monitors, so that their own work is what
 * is measured. The load is the program guest/blk-load.cc, the same in both guests.
 * They take turns; the one that waits is in HLT.
 */
import { execFileSync } from "node:child_process";
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  bootArguments,
  findGuest,
  ObedientGuest,
  obey,
  scratchFolder,
  withProgram,
} from "./support/guest.ts";
import { kvmRuns } from "./support/kvm-counters.ts";
import { qemu, vmexit } from "./support/monitor.ts";
import { monitorCpuSeconds } from "./support/process.ts";
import { Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const SECONDS = 3;
const MIB = 2 ** 20;
const DISK_MIB = 256;

const JOBS = [
  { what: "4 KiB random reads, depth 1", mode: "randread", block: 4096, depth: 1 },
  { what: "4 KiB random reads, depth 32", mode: "randread", block: 4096, depth: 32 },
  { what: "128 KiB reads in sequence, depth 8", mode: "read", block: 131_072, depth: 8 },
  { what: "128 KiB writes in sequence, depth 8", mode: "write", block: 131_072, depth: 8 },
] as const;

interface Sample {
  readonly perSecond: number;
  /** Seconds of CPU outside the guest, per million requests. */
  readonly cpu: number;
  /** KVM_RUN calls per request. */
  readonly runs: number;
}

const folder = scratchFolder();
const guest = findGuest();
const initrd = withProgram(guest.initrd, compileLoad(), "blk-load", folder);
const boot = bootArguments(guest.vmlinux, initrd, obey);
const ours = new ObedientGuest(
  vmexit("-M", "microvm", ...boot, "-drive", `file=${disk("ours")},format=raw,if=virtio`),
);
const peer = new ObedientGuest(
  qemu(
    "pc",
    ...["-M", "pc", "-display", "none", ...boot],
    ...["-drive", `file=${disk("peer")},format=raw,if=none,id=disk,aio=io_uring,cache=writeback`],
    ...["-device", "virtio-blk-pci,drive=disk"],
  ),
);

const results = new Results();
for (const job of JOBS) {
  const samples: { ours: Sample[]; peer: Sample[] } = { ours: [], peer: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    const our = await load(ours, job);
    const their = await load(peer, job);
    if (round === 0) continue; // warm-up
    samples.ours.push(our);
    samples.peer.push(their);
  }
  const pair = (value: (sample: Sample) => number) => ({
    ours: samples.ours.map(value),
    peer: samples.peer.map(value),
    peerName: `${peer.monitor.name}, io_uring`,
  });
  const small = job.block < MIB / 10;
  const rate = pair(({ perSecond }) => (small ? perSecond : (perSecond * job.block) / MIB));
  results.add(job.what, small ? "IOPS" : "MiB/s", rate, { better: "higher", goal: 1 });
  const cpu = pair(({ cpu }) => cpu);
  results.add(`${job.what}: the monitor's CPU per million`, "s", cpu);
  const runs = pair(({ runs }) => runs);
  if (runs.ours.every(Number.isFinite)) results.add(`${job.what}: exits to user space`, "per request", runs);
}
await Promise.all([ours.stop(), peer.stop()]);
console.log(`blk: medians of ${ROUNDS} rounds of ${SECONDS} s; a raw file of ${DISK_MIB} MiB in memory`);
results.finish();

async function load(guest: ObedientGuest, job: (typeof JOBS)[number]): Promise<Sample> {
  const at: { cpu: number; runs: number }[] = [];
  const line = `blk-load /dev/vda ${job.mode} ${job.block} ${job.depth} ${SECONDS}`;
  const { ms, printed } = await guest.time(line, (pid) => {
    at.push({ cpu: monitorCpuSeconds(pid), runs: kvmRuns(pid) });
  });
  const requests = Number(printed);
  if (!(requests > 0)) throw new Error(`blk-load printed ${printed}`);
  const [before, after] = at.slice(-2); // of the last attempt
  return {
    perSecond: requests / (ms / 1000),
    cpu: ((after.cpu - before.cpu) / requests) * 1e6,
    runs: (after.runs - before.runs) / requests,
  };
}

/** A disk without holes. */
function disk(name: string): string {
  const file = join(folder, `${name}.img`);
  const fd = openSync(file, "w");
  const chunk = Buffer.alloc(MIB, 0xa5);
  for (let i = 0; i < DISK_MIB; i++) writeSync(fd, chunk);
  return file;
}

function compileLoad(): string {
  const source = fileURLToPath(new URL("../../../bench/guest/blk-load.cc", import.meta.url));
  const program = join(folder, "blk-load");
  execFileSync("g++", ["-std=c++20", "-O2", "-static", "-o", program, source], { stdio: "inherit" });
  return program;
}
