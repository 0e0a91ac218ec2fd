/**
 * How fast a guest reads and writes its disk, and how much CPU time the host needs:
 * small random requests and large sequential ones, on raw and qcow2 images, with the
 * host's page cache and with O_DIRECT.
 *
 *   npm run bench -- blk [--json FILE] [FILTER...]
 *
 * FILTER selects rows whose name (`raw-direct-randread-32`, see support/blk-matrix.ts)
 * contains it. The peer is QEMU's pc with virtio-blk-pci in four configurations,
 * aio=threads and io_uring, each with and without an iothread; in each row the best of
 * them counts. The load is the program guest/blk-load.cc, the same in all guests. The
 * images are in memory and filled, and each guest has its own. The guests run in turns;
 * those that wait are in HLT.
 */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { choosePieces, type Disk, type Load, type Piece } from "./support/blk-matrix.ts";
import { directFolder } from "./support/direct-folder.ts";
import {
  bootArguments,
  findGuest,
  ObedientGuest,
  obey,
  scratchFolder,
  withProgram,
} from "./support/guest.ts";
import { kvmRuns } from "./support/kvm-counters.ts";
import { type Monitor, qemu, vmexit } from "./support/monitor.ts";
import { monitorCpuSeconds } from "./support/process.ts";
import { amount, median, Results, table } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 3);
const SECONDS = 2;
/** In the lab V8 takes this long until it has optimized the code that a load needs. */
const WARM_UP_SECONDS = 5;
const MIB = 2 ** 20;
const DISK_MIB = 128;

interface Sample {
  readonly perSecond: number;
  /** Seconds of CPU outside the guest, per million requests. */
  readonly cpu: number;
  /** KVM_RUN calls per request. */
  readonly runs: number;
}

class Contestant {
  readonly name: string;
  readonly guest: ObedientGuest;
  samples: Sample[] = [];

  constructor(name: string, monitor: Monitor) {
    this.name = name;
    this.guest = new ObedientGuest(monitor);
  }

  value(of: (sample: Sample) => number): number[] {
    return this.samples.map(of);
  }
}

const { pieces, list } = chosen(process.argv.slice(2));
if (pieces.length === 0) {
  console.error("blk: no row has such a name; see bench/support/blk-matrix.ts");
  process.exit(2);
}
if (list) {
  console.log(pieces.map(({ disk }) => disk.name).join("\n"));
  process.exit(0);
}

const scratch = scratchFolder();
const filled = filledDisk();
const found = findGuest();
const initrd = withProgram(found.initrd, compileLoad(), "blk-load", scratch);
const boot = bootArguments(found.vmlinux, initrd, obey);
const results = new Results();
const details = [["", "monitor", "rate", "unit", "CPU s per million", "exits per request"]];
for (const piece of pieces) await measure(piece);
console.log(`blk: medians of ${ROUNDS} rounds of ${SECONDS} s; images of ${DISK_MIB} MiB in memory\n`);
process.stdout.write(`${table(details)}\n`);
results.finish();

/** The options of the command line. */
function chosen(argv: readonly string[]): { pieces: Piece[]; list: boolean } {
  const filters: string[] = [];
  let [only, list] = ["", false];
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === "--json") i++;
    else if (argv[i] === "--piece") only = argv[++i];
    else if (argv[i] === "--pieces") list = true;
    else filters.push(argv[i]);
  }
  return { pieces: choosePieces(filters).filter(({ disk }) => only === "" || disk.name === only), list };
}

async function measure({ disk, loads }: Piece): Promise<void> {
  const folder = disk.cache === "none" ? directFolder() : scratchFolder();
  const all = contestants(disk, folder);
  const [ours, ...peers] = all;
  try {
    for (const load of loads) {
      for (const each of all) {
        each.samples = [];
        await run(each, load, WARM_UP_SECONDS);
      }
      for (let round = 0; round < ROUNDS; round++) {
        for (let i = 0; i < all.length; i++) {
          const each = all[(round + i) % all.length];
          each.samples.push(await run(each, load, SECONDS));
        }
      }
      report(`${disk.what}: ${load.what}`, load, ours, peers);
    }
  } finally {
    await Promise.all(all.map(({ guest }) => guest.stop()));
    rmSync(folder, { recursive: true });
  }
}

function contestants(disk: Disk, folder: string): Contestant[] {
  const { format, cache } = disk;
  const drive = (name: string, aio: string) =>
    `file=${image(folder, name, disk)},format=${format},cache=${cache},aio=${aio}`;
  const ours = vmexit("-M", "microvm", ...boot, "-drive", `${drive("ours", "io_uring")},if=virtio`);
  const peers = ["threads", "io_uring"].flatMap((aio) =>
    [false, true].map((iothread) => {
      const name = `QEMU, ${aio}${iothread ? ", iothread" : ""}`;
      const monitor = qemu(
        "pc",
        ...["-M", "pc", "-display", "none", ...boot],
        ...(iothread ? ["-object", "iothread,id=thread"] : []),
        ...["-drive", `${drive(`${aio}-${iothread}`, aio)},if=none,id=disk`],
        ...["-device", `virtio-blk-pci,drive=disk${iothread ? ",iothread=thread" : ""}`],
      );
      return new Contestant(name, monitor);
    }),
  );
  return [new Contestant("vmexit", ours), ...peers];
}

async function run({ guest }: Contestant, load: Load, seconds: number): Promise<Sample> {
  const at: { cpu: number; runs: number }[] = [];
  const line = `blk-load /dev/vda ${load.mode} ${load.block} ${load.depth} ${seconds}`;
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

/** Adds three rows, each against the best peer for that row, and prints the numbers of all. */
function report(what: string, load: Load, ours: Contestant, peers: readonly Contestant[]): void {
  const small = load.block < MIB / 10;
  const [unit, scale] = small ? ["IOPS", 1] : ["MiB/s", load.block / MIB];
  const add = (
    row: string,
    unit: string,
    of: (sample: Sample) => number,
    better: "higher" | "lower",
    goal?: number,
  ) => {
    const sign = better === "higher" ? 1 : -1;
    const rank = (each: Contestant) => sign * median(each.value(of));
    const best = peers.reduce((a, b) => (rank(b) > rank(a) ? b : a));
    const samples = { ours: ours.value(of), peer: best.value(of), peerName: best.name };
    results.add(row, unit, samples, { better, ...(goal !== undefined && { goal }) });
  };
  add(what, unit, ({ perSecond }) => perSecond * scale, "higher", 1);
  add(`${what}: the monitor's CPU per million`, "s", ({ cpu }) => cpu, "lower", 1);
  const counted = [ours, ...peers].every((each) => each.samples.every(({ runs }) => Number.isFinite(runs)));
  if (counted) add(`${what}: exits to user space`, "per request", ({ runs }) => runs, "lower");
  for (const each of [ours, ...peers]) {
    const numbers = [
      ({ perSecond }: Sample) => perSecond * scale,
      ({ cpu }: Sample) => cpu,
      ({ runs }: Sample) => runs,
    ];
    const [rate, cpu, runs] = numbers.map((of) => amount(median(each.value(of))));
    details.push([each === ours ? what : "", each.name, rate, unit, cpu, runs]);
  }
  console.error(`blk: ${what}: done`);
}

/** An image without holes. For O_DIRECT it is copied with O_DIRECT: RAM disk and page cache would both take memory. */
function image(folder: string, name: string, { format, cache }: Disk): string {
  const file = join(folder, `${name}.${format}`);
  const how = ["-f", "raw", "-O", format, "-S", "0", "-t", cache];
  execFileSync("qemu-img", ["convert", ...how, filled, file]);
  return file;
}

/** The contents of all images. */
function filledDisk(): string {
  const file = join(scratch, "filled.raw");
  const fd = openSync(file, "w");
  const chunk = Buffer.alloc(MIB, 0xa5);
  for (let i = 0; i < DISK_MIB; i++) writeSync(fd, chunk);
  closeSync(fd);
  return file;
}

function compileLoad(): string {
  const source = fileURLToPath(new URL("../../../bench/guest/blk-load.cc", import.meta.url));
  const program = join(scratch, "blk-load");
  execFileSync("g++", ["-std=c++20", "-O2", "-static", "-o", program, source], { stdio: "inherit" });
  return program;
}
