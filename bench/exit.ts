/**
 * The cost of TypeScript in an exit loop: nanoseconds from one `out` instruction of
 * a guest to the next, through the loop of our vCPU threads and through a loop in
 * C++ around the same system call (bench/native/exit_loop.cc).
 *
 *   npm run bench -- exit [--json FILE]
 *
 * There is one process, one vCPU and one guest; the loops alternate. Any KVM can
 * run this. The first device has no lock, like the loop in C++; the second is
 * behind a lock, as all devices of a machine are.
 *
 * Then the cost of tracing: while nobody traces, compared with a loop that cannot
 * trace, and while exits are traced.
 */
import { createRequire } from "node:module";
import type { Vcpu } from "vmexit/kvm";
import { Results } from "./support/results.ts";
import { runUntraced } from "./support/untraced-loop.ts";

const { GuestRam, Kvm }: typeof import("../src/kvm/kvm.ts") = await inner("kvm/kvm");
const { AddressSpace, MAX_WINDOWS }: typeof import("../src/bus/address-space.ts") =
  await inner("bus/address-space");
const { Guarded }: typeof import("../src/bus/guarded.ts") = await inner("bus/guarded");
const { Lock }: typeof import("../src/base/lock.ts") = await inner("base/lock");
const { CONTROL_WORDS, Control, PARK, RUN, TRACE }: typeof import("../src/threads/control.ts") =
  await inner("threads/control");
const { DEBUG, runVcpu }: typeof import("../src/threads/vcpu-loop.ts") = await inner("threads/vcpu-loop");
const { runTracedVcpu }: typeof import("../src/threads/traced-loop.ts") = await inner("threads/traced-loop");
const { ExitRecorder }: typeof import("../src/threads/exit-recorder.ts") =
  await inner("threads/exit-recorder");
const { GuestMemory }: typeof import("../src/memory/guest-memory.ts") = await inner("memory/guest-memory");
const { TRACE_RING_BYTES, TraceReader, TraceWriter }: typeof import("../src/threads/trace-ring.ts") =
  await inner("threads/trace-ring");

const PORT = 0x80;
const CODE = 0x1000;
/** Many short rounds: other load on the machine disturbs some of them, and not the median. */
const ROUNDS = 1001;
const ROUND_MS = 2;
/** The limit for the cost of recording an exit, in ns. */
const TRACE_NS = 300;

/** `next: out 0x80, al; jmp next` */
const GUEST = [0xe6, PORT, 0xeb, 0xfc];
/** Its linear address in 64-bit mode: in the upper half, like a kernel's. One large page maps it to address 0. */
const UPPER_HALF = 0xffff_ff80_0000_0000n;
const [PML4, PDPT, DIRECTORY] = [0x4000, 0x5000, 0x6000];

/** Parts of the product that the package does not export. */
function inner(module: string) {
  return import(new URL(`../../../dist/${module}.js`, import.meta.url).href);
}

/** Runs the process's vCPU 0 for so many exits; returns how many they were, or -errno. */
const exitLoop: { run(count: number): number } = createRequire(import.meta.url)(
  "../../../bench/native/build/Release/exit_loop.node",
);

/** A device that stops the loop after so many writes. */
class Sink {
  left = 0;
  sum = 0;
  readonly control = new Control(new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS)));

  read(): number {
    return 0xff;
  }

  write(_offset: number, _size: number, value: number): void {
    this.sum = (this.sum + value) | 0;
    if (--this.left === 0) this.control.request(PARK);
  }

  reset(): void {}
}

/** A machine with one device on its port, and what its loop needs. */
function machine(locked: boolean) {
  const counter = (length: number) => new Float64Array(new SharedArrayBuffer(8 * length));
  const counters = {
    exits: counter(64),
    interrupted: counter(1),
    ports: counter(MAX_WINDOWS + 1),
    memory: counter(MAX_WINDOWS + 1),
  };
  const ports = new AddressSpace("ports", counters.ports);
  const memory = new AddressSpace("memory", counters.memory);
  const sink = new Sink();
  const lock = new Lock(new Int32Array(new SharedArrayBuffer(4)), 0);
  const device = locked ? new Guarded(sink, lock) : sink;
  ports.add({ name: "sink", address: PORT, length: 1, device });
  return { ports, memory, counters, sink };
}

/** The loop of a vCPU thread. */
function typescriptLoop(vcpu: Vcpu, locked: boolean): (count: number) => void {
  const { ports, memory, counters, sink } = machine(locked);
  return (count) => {
    sink.left = count;
    sink.control.request(RUN);
    check(runVcpu(vcpu, ports, memory, sink.control, counters));
  };
}

function untracedLoop(vcpu: Vcpu): (count: number) => void {
  const { ports, counters, sink } = machine(false);
  return (count) => {
    sink.left = count;
    sink.control.request(RUN);
    runUntraced(vcpu, ports, sink.control, counters);
  };
}

/** The loop that records; `drain` takes the records, as another thread would do at the same time. */
function tracedLoop(vcpu: Vcpu, synced: boolean): { loop: (count: number) => void; drain: () => void } {
  const { ports, memory, counters, sink } = machine(false);
  const buffer = new SharedArrayBuffer(TRACE_RING_BYTES);
  const registers = vcpu.exitRegisters(synced);
  const parts = { vcpu, registers, writer: new TraceWriter(buffer), ram: new GuestMemory(ram, []) };
  const recorder = new ExitRecorder(parts);
  const reader = new TraceReader(buffer, vcpu.times);
  const loop = (count: number) => {
    sink.left = count;
    sink.control.request(TRACE);
    check(runTracedVcpu(vcpu, ports, memory, sink.control, counters, recorder));
  };
  const drain = () => {
    for (; reader.next(); reader.take()) {
      if (reader.lost > 0) throw new Error("records were dropped, which takes a different path");
    }
  };
  return { loop, drain };
}

function check(stop: ReturnType<typeof runVcpu>): void {
  if (stop === DEBUG) throw new Error("the guest met a breakpoint");
  if (stop !== undefined) throw new Error(`the guest ended: ${stop.message ?? stop.reason}`);
}

function nsPerExit(loop: (count: number) => void, count: number): number {
  const start = process.hrtime.bigint();
  loop(count);
  return Number(process.hrtime.bigint() - start) / count;
}

using kvm = Kvm.open();
using vm = kvm.createVm();
using ram = GuestRam.create(64 * 1024);
vm.setUserMemoryRegion({ slot: 0, address: 0, ram });
new Uint8Array(ram.map(0, ram.size)).set(GUEST, CODE);
using vcpu = vm.createVcpu(0);
enterUpperHalf();

function enterUpperHalf(): void {
  const tables = new DataView(ram.map(0, ram.size));
  const PRESENT_WRITE = 3n;
  const LARGE = 0x80n;
  tables.setBigUint64(PML4 + 8 * 511, BigInt(PDPT) | PRESENT_WRITE, true);
  tables.setBigUint64(PDPT, BigInt(DIRECTORY) | PRESENT_WRITE, true);
  tables.setBigUint64(DIRECTORY, LARGE | PRESENT_WRITE, true);
  vcpu.changeSregs({
    cr0: 0x8000_0011, // PG, ET, PE
    cr3: PML4,
    cr4: 0x20, // PAE
    efer: 0x500, // LMA, LME
    cs: {
      selector: 0x10,
      base: 0,
      limit: 0xffff_ffff,
      type: 11,
      s: 1,
      present: 1,
      g: 1,
      db: 0,
      l: 1,
      dpl: 0,
    },
  });
  vcpu.changeRegs({ rip: UPPER_HALF + BigInt(CODE), rflags: 2 });
}

const SYNCED = 3; // KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS
const synced = (vm.checkExtension("SYNC_REGS") & SYNCED) === SYNCED;
const traced = tracedLoop(vcpu, synced);
const contestants = {
  cpp: (count: number) => {
    const done = exitLoop.run(count);
    if (done !== count) throw new Error(`the loop in C++ ended after ${done} of ${count} exits`);
  },
  plain: typescriptLoop(vcpu, false),
  locked: typescriptLoop(vcpu, true),
  untraced: untracedLoop(vcpu),
  traced: traced.loop,
};

// Warm-up: compiles the loops, and determines the number of exits in a round.
for (const loop of Object.values(contestants)) {
  for (let n = 0; n < 10; n++) {
    loop(2_000);
    traced.drain();
  }
}
const count = Math.max(100, Math.round((ROUND_MS * 1e6) / nsPerExit(contestants.cpp, 5_000)));
const ns: Record<keyof typeof contestants, number[]> = {
  cpp: [],
  plain: [],
  locked: [],
  untraced: [],
  traced: [],
};
const added: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  ns.cpp.push(nsPerExit(contestants.cpp, count));
  ns.plain.push(nsPerExit(contestants.plain, count));
  ns.locked.push(nsPerExit(contestants.locked, count));
  ns.untraced.push(nsPerExit(contestants.untraced, count));
  ns.traced.push(nsPerExit(contestants.traced, count));
  traced.drain();
  added.push(ns.traced[round] - ns.plain[round]);
}

const peer = { peer: ns.cpp, peerName: "the same loop in C++" };
const results = new Results();
results.add("port write, TypeScript loop", "ns", { ours: ns.plain, ...peer }, { goal: 1.05 });
results.add("port write, device behind its lock", "ns", { ours: ns.locked, ...peer }, { goal: 1.05 });
const unable = { peer: ns.untraced, peerName: "the loop without tracing" };
results.add("port write, while nobody traces", "ns", { ours: ns.plain, ...unable }, { goal: 1.02 });
results.add("port write, while traced", "ns", { ours: ns.traced, ...unable });
const allowed = { peer: TRACE_NS, peerName: "what is allowed" };
results.add("what tracing adds", "ns", { ours: added, ...allowed }, { goal: 1 });
if (!synced)
  console.log("exit: KVM has no KVM_CAP_SYNC_REGS here: tracing reads the registers of each exit by ioctls");
console.log(`exit: medians of ${ROUNDS} rounds of ${count} exits each`);
results.finish();
