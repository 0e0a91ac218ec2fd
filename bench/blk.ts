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
 * them counts. Ours is a microvm; one more row compares our own PC with it. The load is the program guest/blk-load.cc, the same in all guests. The
 * images are in memory and filled, and each guest has its own. The guests run in turns;
 * those that wait are in HLT.
 */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { choosePieces, type Disk, type Load, type Piece } from "./support/blk-matrix.ts";
import { directFolder } from "./support/direct-folder.ts";
import { compileLoad, DiskUser, filledDisk, type Sample } from "./support/disk-load.ts";
import { bootArguments, findGuest, obey, scratchFolder, withProgram } from "./support/guest.ts";
import { qemu, vmexit } from "./support/monitor.ts";
import { amount, median, Results, table } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 3);
const SECONDS = 2;
/** In the lab V8 takes this long until it has optimized the code that a load needs. */
const WARM_UP_SECONDS = 5;
const MIB = 2 ** 20;
const DISK_MIB = 128;
const DEVICE = "/dev/vda";

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
const filled = filledDisk(scratch, DISK_MIB);
const found = findGuest();
const initrd = withProgram(found.initrd, compileLoad(scratch), "blk-load", scratch);
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
  const [ours, pc, ...peers] = all;
  try {
    for (const load of loads) {
      for (const each of all) {
        each.samples = [];
        await each.run(load, WARM_UP_SECONDS);
      }
      for (let round = 0; round < ROUNDS; round++) {
        for (let i = 0; i < all.length; i++) {
          const each = all[(round + i) % all.length];
          each.samples.push(await each.run(load, SECONDS));
        }
      }
      report(`${disk.what}: ${load.what}`, load, { ours, pc, peers });
    }
  } finally {
    await Promise.all(all.map(({ guest }) => guest.stop()));
    rmSync(folder, { recursive: true });
  }
}

function contestants(disk: Disk, folder: string): DiskUser[] {
  const { format, cache } = disk;
  const drive = (name: string, aio: string) =>
    `file=${image(folder, name, disk)},format=${format},cache=${cache},aio=${aio}`;
  const ours = ["microvm", "pc"].map((board) => {
    const options = ["-drive", `${drive(board, "io_uring")},if=virtio`];
    return new DiskUser(`vmexit ${board}`, vmexit("-M", board, ...boot, ...options), DEVICE);
  });
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
      return new DiskUser(name, monitor, DEVICE);
    }),
  );
  return [...ours, ...peers];
}

interface Contestants {
  readonly ours: DiskUser;
  readonly pc: DiskUser;
  readonly peers: readonly DiskUser[];
}

/** Adds rows, each against the best peer for that row, and one of our PC; prints the numbers of all. */
function report(what: string, load: Load, { ours, pc, peers }: Contestants): void {
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
    const rank = (each: DiskUser) => sign * median(each.value(of));
    const best = peers.reduce((a, b) => (rank(b) > rank(a) ? b : a));
    const samples = { ours: ours.value(of), peer: best.value(of), peerName: best.name };
    results.add(row, unit, samples, { better, ...(goal !== undefined && { goal }) });
  };
  add(what, unit, ({ perSecond }) => perSecond * scale, "higher", 1);
  add(`${what}: the monitor's CPU per million`, "s", ({ cpu }) => cpu, "lower", 1);
  const rate = (each: DiskUser) => each.value(({ perSecond }) => perSecond * scale);
  const boards = { ours: rate(pc), peer: rate(ours), peerName: ours.name };
  results.add(`${what}: on a PC`, unit, boards, { better: "higher", goal: 1 });
  const counted = [ours, ...peers].every((each) => each.samples.every(({ runs }) => Number.isFinite(runs)));
  if (counted) add(`${what}: exits to user space`, "per request", ({ runs }) => runs, "lower");
  for (const each of [ours, pc, ...peers]) {
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
