/**
 * What one more machine takes: guests of some bytes with a disk, an entropy device and
 * a serial port, on any KVM, in one process.
 *
 *   npm run bench -- density [--json FILE] [--machines N] [--threads own]
 *
 * The peers are what is allowed. With N machines, then with one of them busy.
 */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createVm, type VirtualMachine, type VmOptions } from "vmexit";
import { nextExit } from "./support/first-exit.ts";
import { scratchFolder } from "./support/guest.ts";
import { median, Results } from "./support/results.ts";

const argument = (name: string) => process.argv[process.argv.indexOf(name) + 1];
const has = (name: string) => process.argv.includes(name);
const MACHINES = has("--machines") ? Number(argument("--machines")) : 50;
const THREADS = has("--threads") && argument("--threads") === "own" ? "own" : "pooled";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 15);
const MIB = 2 ** 20;
const MEMORY_MIB = 2;
const ANSWER_MS = 2_000;
const IDLE_SECONDS = 10;
/** Of one CPU, for 500 machines. */
const IDLE_SHARE = 0.05;
const BUSY_MS = 300;

const CODE = 0x1000;
const HANDLER = 0x60;

/** Echoes on COM1 what arrives there. It sleeps until its UART interrupts. CS = DS = SS = 0 after the jump. */
function echo(): Uint8Array {
  const main = [
    ...[0xea, 0x05, 0x10, 0x00, 0x00], // jmp 0:0x1005
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x70], // xor ax, ax; ds = ss = ax; sp = 0x7000
    ...[0xc7, 0x06, 0x30, 0x00, HANDLER, 0x10, 0xc7, 0x06, 0x32, 0x00, 0x00, 0x00], // vector 12
    ...[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21], // the 8259: ICW1; vectors from 8 on
    ...[0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xef, 0xe6, 0x21], // ICW3, ICW4; IRQ 4 only
    ...[0xba, 0xfc, 0x03, 0xb0, 0x08, 0xee], // MCR: OUT2
    ...[0xba, 0xf9, 0x03, 0xb0, 0x01, 0xee], // IER: received data
    ...[0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee], // says "!"
    ...[0xfb, 0xf4, 0xeb, 0xfd], // sti; again: hlt; jmp again
  ];
  const handler = [0xba, 0xf8, 0x03, 0xec, 0xee, 0xb0, 0x20, 0xe6, 0x20, 0xcf]; // in; out; end of interrupt; iret
  const bytes = new Uint8Array(HANDLER + handler.length);
  bytes.set(main);
  bytes.set(handler, HANDLER);
  return bytes;
}

const disk = join(scratchFolder(), "disk");
writeFileSync(disk, "");
truncateSync(disk, MIB);
const options: VmOptions = {
  memory: "1M",
  kernel: echo(),
  loadAddress: CODE,
  rng: true,
  drives: [{ file: disk, readOnly: true }],
  threads: THREADS,
};

/** Bytes of this process that are not guest RAM. */
function memory(): number {
  const maps = readFileSync("/proc/self/smaps", "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const pss = (map: string) => Number(/^Pss: +(\d+) kB/m.exec(map)?.[1] ?? 0);
  const others = maps.filter((map) => !map.split("\n", 1)[0].includes("/memfd:guest-ram"));
  return 1024 * others.reduce((sum, map) => sum + pss(map), 0);
}

const count = (folder: string) => readdirSync(`/proc/self/${folder}`).length;
const counts = () => ({ bytes: memory(), threads: count("task"), descriptors: count("fd") });

async function made(more: VmOptions = options): Promise<VirtualMachine> {
  const vm = await createVm(more);
  const ready = vm.serial.waitFor("!", { timeoutMs: 60_000 });
  await vm.start();
  await ready;
  return vm;
}

/** ms until the console answers a key */
async function answer(vm: VirtualMachine): Promise<number> {
  const start = performance.now();
  const heard = vm.serial.waitFor("x", { timeoutMs: 60_000 });
  vm.serial.write("x");
  await heard;
  return performance.now() - start;
}

/** µs of this process's CPU time for an exit. The time that passes depends on who else uses the CPUs. */
async function cost(vm: VirtualMachine): Promise<number> {
  const { totalExits } = vm.stats();
  const before = process.cpuUsage();
  await sleep(BUSY_MS);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / (vm.stats().totalExits - totalExits);
}

const machines = [await made()]; // "further" ones are counted
const before = counts();
const start = performance.now();
while (machines.length <= MACHINES) machines.push(await made());
const each = (performance.now() - start) / MACHINES;
const after = counts();

const cpu = process.cpuUsage();
await sleep(IDLE_SECONDS * 1000);
const { user, system } = process.cpuUsage(cpu);
const idle = (user + system) / 1e6 / IDLE_SECONDS;

const together = await Promise.all(machines.map(answer));

// One busy machine among them, and the same on threads of its own in the same process.
const busy = Uint8Array.of(0xe6, 0x80, 0xeb, 0xfc); // next: out 0x80, al; jmp next
const costs: Record<"own" | "pooled", number[]> = { own: [], pooled: [] };
const guests = {
  own: await createVm({ memory: "1M", kernel: busy, loadAddress: CODE, threads: "own" }),
  pooled: await createVm({ memory: "1M", kernel: busy, loadAddress: CODE, threads: "pooled" }),
};
for (const vm of Object.values(guests)) await vm.start();
for (const vm of Object.values(guests)) await vm.pause();
for (let round = 0; round < ROUNDS; round++) {
  for (const kind of ["own", "pooled"] as const) {
    await guests[kind].resume();
    await nextExit(guests[kind]); // it runs
    costs[kind].push(await cost(guests[kind]));
    await guests[kind].pause();
  }
}
await guests.pooled.resume();
const beside = await Promise.all(machines.map(answer));
await Promise.all([...machines, ...Object.values(guests)].map((vm) => vm.stop()));

const results = new Results();
const allowed = (peer: number) => ({ peer, peerName: "what is allowed" });
const further = (what: "bytes" | "threads" | "descriptors") => (after[what] - before[what]) / MACHINES;
results.add(
  "memory of a further machine",
  "MiB",
  { ours: further("bytes") / MIB, ...allowed(MEMORY_MIB) },
  { goal: 1 },
);
results.add("threads of a further machine", "threads", {
  ours: further("threads"),
  peer: 3,
  peerName: "own",
});
const twenty = { peer: 20, peerName: "own" };
results.add("descriptors of a further machine", "descriptors", { ours: further("descriptors"), ...twenty });
results.add("createVm to the first output", "ms", { ours: each, ...allowed(ANSWER_MS) });
results.add(
  "a key on all consoles at once: the last",
  "ms",
  { ours: Math.max(...together), ...allowed(ANSWER_MS) },
  { goal: 1 },
);
results.add("the same: median", "ms", { ours: median(together), ...allowed(ANSWER_MS) });
results.add(
  "beside a machine that exits for ever: the last",
  "ms",
  { ours: Math.max(...beside), ...allowed(ANSWER_MS) },
  { goal: 1 },
);
results.add("idle CPU of all", "of a CPU", { ours: idle, ...allowed(IDLE_SHARE) }, { goal: 1 });
results.add(
  "an exit of a busy machine among them, CPU time",
  "us",
  { ours: costs.pooled, peer: costs.own, peerName: "threads: own" },
  { goal: 1.05 },
);
console.log(`density: ${MACHINES} further machines, threads: ${THREADS}`);
results.finish();
process.exit(0); // what is left of the machines' threads is not waited for
