/**
 * How long `vmexit img convert` takes, compared with `qemu-img convert`: a disk of
 * 2 GiB, half of it random data and half holes, from raw to qcow2 and back.
 *
 *   npm run bench -- convert [--json FILE] [FOLDER...]
 *
 * The images are in memory, and in files on disk (mostly in the page cache: neither
 * program waits for the disk at its end). Whole processes are timed, from start to
 * exit, in alternation. Each result is compared with the source once.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 7);
const MIB = 2 ** 20;
const DISK = 2048 * MIB;
/** Data and holes alternate. */
const STRETCH = 16 * MIB;

const PACKAGE = new URL("../../../package.json", import.meta.url);
const { bin }: { bin: { vmexit: string } } = JSON.parse(readFileSync(PACKAGE, "utf8"));
const OURS = [process.execPath, fileURLToPath(new URL(bin.vmexit, PACKAGE)), "img"];
const QEMU = ["qemu-img"];

const WAYS = [
  { from: "raw", to: "qcow2" },
  { from: "qcow2", to: "raw" },
] as const;

const results = new Results();
for (const { folder, where } of places()) {
  const own = mkdtempSync(join(folder, "vmexit-bench-"));
  process.on("exit", () => rmSync(own, { recursive: true, force: true }));
  const source = { raw: join(own, "disk.raw"), qcow2: join(own, "disk.qcow2") };
  makeDisk(source.raw);
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", source.raw, source.qcow2]);
  for (const { from, to } of WAYS) {
    const made = join(own, `made.${to}`);
    const once = (program: readonly string[]) =>
      seconds([...program, "convert", "-f", from, "-O", to], source[from], made);
    const samples = { ours: [] as number[], peer: [] as number[], peerName: "qemu-img" };
    for (let round = 0; round <= ROUNDS; round++) {
      const our = once(OURS);
      if (round === 0) execFileSync("qemu-img", ["compare", "-f", "raw", "-F", to, source.raw, made]);
      const their = once(QEMU);
      if (round === 0) continue; // warm-up
      samples.ours.push(our);
      samples.peer.push(their);
    }
    rmSync(made);
    results.add(`${from} to ${to}, ${where}`, "s", samples, { better: "lower", goal: 1 });
  }
  rmSync(own, { recursive: true });
}
console.log(`convert: medians of ${ROUNDS} rounds; a disk of ${DISK / MIB} MiB, half of it holes`);
results.finish();

/** The folders of the command line. By default one in memory, and one on disk if temporary files are on a disk. */
function places(): { folder: string; where: string }[] {
  const argv = process.argv.slice(2);
  const at = argv.indexOf("--json");
  if (at >= 0) argv.splice(at, 2);
  if (argv.length > 0) return argv.map((folder) => ({ folder, where: `in ${folder}` }));
  const memory = { folder: "/dev/shm", where: "in memory" };
  const disk = { folder: "/var/tmp", where: "on disk" };
  return statSync(disk.folder).dev === statSync(memory.folder).dev ? [memory] : [memory, disk];
}

/** The seconds of a conversion. Dirty pages of earlier conversions are written to the disk before it. */
function seconds([command, ...args]: readonly string[], source: string, target: string): number {
  rmSync(target, { force: true });
  execFileSync("sync");
  const start = performance.now();
  const { status, error, stderr } = spawnSync(command, [...args, source, target], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return (performance.now() - start) / 1000;
}

function makeDisk(path: string): void {
  const fd = openSync(path, "w");
  const chunk = Buffer.alloc(MIB);
  for (let at = 0; at < DISK; at += 2 * STRETCH) {
    for (let done = 0; done < STRETCH; done += MIB) writeSync(fd, randomFillSync(chunk), 0, MIB, at + done);
  }
  ftruncateSync(fd, DISK);
  closeSync(fd);
}
