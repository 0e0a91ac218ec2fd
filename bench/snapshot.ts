/**
 * How long a machine takes to be saved and to continue: a Linux guest of one CPU
 * and 256 MiB that prints without end.
 *
 *   npm run bench -- snapshot [--json FILE]
 *
 * The peer is QEMU's microvm with the same guest: savevm and -loadvm in a qcow2
 * image, and a migration to a file with -incoming. QEMU always is a process of its
 * own. Ours is the command, or a program that has loaded the library and goes on.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createPool, createVm, restoreVm, type VirtualMachine } from "vmexit";
import { copiedRam, nextExit, nextOutput } from "./support/first-exit.ts";
import { bootArguments, findGuest, GUEST_MEMORY_MIB, scratchFolder } from "./support/guest.ts";
import { type Monitor, qemu, Running, vmexit, withMonitor, withSpareLives } from "./support/monitor.ts";
import { Qmp } from "./support/qmp.ts";
import { Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const MIB = 2 ** 20;
const FORKS = 20;
const PATIENCE_MS = 120_000;
const MEMORY_PER_FORK_MIB = 3;
const REWIND_MS = 5;
const REWOUND_PAGES = 1000;

const READY = "vmexit: ready";
/** Prints without end, so that a guest that continues is seen at once. */
const SCRIPT = `echo "${READY}"; while :; do echo tick; done`;

const guest = findGuest();
const scratch = scratchFolder();
const append = `vmexit.run=${Buffer.from(SCRIPT).toString("base64")}`;
const boot = bootArguments(guest.vmlinux, guest.initrd, append);
const cmdline = boot[boot.indexOf("-append") + 1];
const options = { memory: `${GUEST_MEMORY_MIB}M`, kernel: guest.vmlinux, initrd: guest.initrd, cmdline };

const times = new Map<string, number[]>();
function note(what: string, ms: number): void {
  times.set(what, [...(times.get(what) ?? []), ms]);
}
const of = (what: string): number[] => times.get(what) ?? [];

// --- ours -----------------------------------------------------------------------------

async function booted(): Promise<VirtualMachine> {
  const start = performance.now();
  const vm = await createVm(options);
  vm.serial.resume();
  const ready = vm.serial.waitFor(READY, { timeoutMs: PATIENCE_MS });
  await vm.start();
  note("boot to first exit", (await nextExit(vm)) - start);
  await ready;
  note("boot to ready", performance.now() - start);
  return vm;
}

async function restored(dir: string): Promise<void> {
  const start = performance.now();
  await using vm = await restoreVm(dir);
  const output = nextOutput(vm);
  await vm.resume();
  note("restore to first exit", (await nextExit(vm)) - start);
  note("restore to first output", (await output) - start);
}

async function pooled(): Promise<void> {
  const pool = await createPool({ snapshot: dir, ready: 1, limit: 1 }); // the next is not made meanwhile
  const start = performance.now();
  const vm = await pool.take();
  note("pool to first output", (await nextOutput(vm)) - start);
  await pool.close();
  await vm.stop();
}

async function forked(vm: VirtualMachine): Promise<void> {
  const start = performance.now();
  const [child] = await vm.fork(1);
  note("fork(1)", performance.now() - start);
  await child.resume();
  note("fork(1) to first exit", (await nextExit(child)) - start);
  await child.stop();
}

/** Bytes of this process that are not pages of guest RAM. */
function memory(): number {
  const pss = /^Pss: +(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))?.[1];
  return 1024 * Number(pss) - copiedRam(readFileSync("/proc/self/smaps", "utf8"));
}

async function forkedOften(vm: VirtualMachine): Promise<void> {
  const [first] = await vm.fork(1); // "further" ones are counted
  const before = memory();
  const start = performance.now();
  const children = await vm.fork(FORKS);
  note(`fork(${FORKS})`, performance.now() - start);
  for (const child of children) {
    // One after the other: each prints without end.
    await child.resume();
    await nextExit(child);
    await child.pause();
  }
  note("memory of a fork", (memory() - before) / FORKS / MIB);
  for (const child of [first, ...children]) await child.stop();
}

async function rewound(vm: VirtualMachine): Promise<void> {
  await vm.mark();
  for (let round = 0; round < ROUNDS; round++) {
    for (let page = 0; page < REWOUND_PAGES; page++) {
      vm.memory.write(128 * MIB + 2 * 4096 * page, Uint8Array.of(1));
    }
    const { pages, pauseMs } = await vm.rewind();
    note("rewind", pauseMs);
    note("rewound pages", pages);
  }
}

const dir = join(scratch, "saved");

async function measureOurs(): Promise<void> {
  await using vm = await booted();
  for (let round = 0; round < ROUNDS; round++) {
    for (const stop of [false, true]) {
      const start = performance.now();
      const { pauseMs } = await vm.snapshot({ dir, stop });
      note(`save, stop: ${stop}`, performance.now() - start);
      note(`pause, stop: ${stop}`, pauseMs);
    }
    await vm.pause(); // what is measured next does not share the CPUs with it
    await restored(dir);
    await pooled();
    await forked(vm);
    await vm.resume();
  }
  await vm.pause();
  await forkedOften(vm);
  await rewound(vm);
}

// --- QEMU -----------------------------------------------------------------------------

const disk = join(scratch, "state.qcow2");
const stream = join(scratch, "stream");
const socket = join(scratch, "qmp");
/** savevm needs an image. */
const peer = (...more: string[]): Monitor =>
  qemu(
    "microvm",
    ...["-M", "microvm,acpi=on,rtc=on", "-display", "none"],
    ...["-drive", `file=${disk},format=qcow2,if=none,id=state`, "-device", "virtio-blk-device,drive=state"],
    ...["-qmp", `unix:${socket},server=on,wait=off`],
    ...[...boot, ...more],
  );

async function measurePeer(): Promise<void> {
  await withMonitor(peer(), async (running) => {
    await running.waitFor(READY);
    const qmp = await Qmp.open(socket);
    let start = performance.now();
    await qmp.human("savevm saved");
    note("QEMU savevm", performance.now() - start);
    start = performance.now();
    await qmp.migrateTo(stream);
    note("QEMU migrate", performance.now() - start);
    qmp.close();
  });
}

async function continued(what: string, monitor: Monitor): Promise<void> {
  await withSpareLives(async () => {
    const running = new Running(monitor);
    try {
      const { at } = await running.waitFor("tick");
      note(what, at - running.startedAt);
    } finally {
      await running.stop();
    }
  });
}

// --- all ------------------------------------------------------------------------------

await withSpareLives(measureOurs);
const saving = ["-f", "qcow2", disk, "1G"];
execFileSync("qemu-img", ["create", "-q", ...saving], { stdio: ["ignore", 2, 2] });
await withSpareLives(measurePeer);
for (let round = 0; round < ROUNDS; round++) {
  await continued("command to first output", vmexit("-loadvm", dir, "-serial", "stdio"));
  await continued("QEMU -incoming", peer("-incoming", `exec:cat ${stream}`));
  await continued("QEMU -loadvm", peer("-loadvm", "saved"));
}

const results = new Results();
const against = (what: string, ours: string, peerName: string, theirs: string, goal?: number) => {
  const samples = { ours: of(ours), peer: of(theirs), peerName };
  results.add(what, "ms", samples, goal === undefined ? {} : { goal });
};
const restore = "restore in a program, to the first output";
against(restore, "restore to first output", "QEMU -incoming, a process", "QEMU -incoming", 0.1);
against(restore, "restore to first output", "QEMU -loadvm, a process", "QEMU -loadvm", 0.1);
const taken = "a machine of createPool, to the first output";
against(taken, "pool to first output", "QEMU -incoming, a process", "QEMU -incoming", 0.1);
against(taken, "pool to first output", "QEMU -loadvm, a process", "QEMU -loadvm", 0.1);
const command = "restore by the command, to the first output";
against(command, "command to first output", "QEMU -incoming, a process", "QEMU -incoming", 0.1);
against(command, "command to first output", "QEMU -loadvm, a process", "QEMU -loadvm", 0.1);
const own = "own boot to the first exit";
against("restore to the first exit", "restore to first exit", own, "boot to first exit", 0.25);
against("fork(1)", "fork(1)", own, "boot to first exit", 0.1);
against("fork(1), to the first exit of the copy", "fork(1) to first exit", own, "boot to first exit");
against(`fork(${FORKS})`, `fork(${FORKS})`, "own boot to its script", "boot to ready", 1);
const allowed = { peer: MEMORY_PER_FORK_MIB, peerName: "what is allowed" };
results.add("memory of a further fork", "MiB", { ours: of("memory of a fork"), ...allowed }, { goal: 1 });
results.add(
  `rewind of ${REWOUND_PAGES} pages and more`,
  "ms",
  { ours: of("rewind"), peer: REWIND_MS, peerName: "what is allowed, on hardware" },
  { goal: 1 },
);
for (const stop of [true, false]) {
  against(`save, stop: ${stop}`, `save, stop: ${stop}`, "QEMU savevm", "QEMU savevm");
  against(`pause of that`, `pause, stop: ${stop}`, "QEMU savevm, all of it a pause", "QEMU savevm");
  against(`save, stop: ${stop}`, `save, stop: ${stop}`, "QEMU migrate", "QEMU migrate");
}
console.log(`snapshot: medians of ${ROUNDS} rounds, of one CPU and ${GUEST_MEMORY_MIB} MiB`);
results.finish();
