/**
 * What TypeScript costs in an exit loop: nanoseconds from one `out` instruction
 * of a guest to the next, through the loop that our vCPU threads run and through
 * a loop in C++ around the same system call (native/bench_loop.cc).
 *
 *   npm run bench -- exit [--json FILE]
 *
 * One process, one vCPU, one guest; the loops take turns. Any KVM will do. The
 * first device has no lock, as the loop in C++ has none; the second is behind
 * one, as all devices of a machine are.
 */
import type { Vcpu } from "vmexit/kvm";
import { Results } from "./support/results.ts";

const { GuestRam, Kvm }: typeof import("../src/kvm/kvm.ts") = await inner("kvm/kvm");
const { AddressSpace, MAX_WINDOWS }: typeof import("../src/bus/address-space.ts") =
  await inner("bus/address-space");
const { Guarded }: typeof import("../src/bus/guarded.ts") = await inner("bus/guarded");
const { Lock }: typeof import("../src/base/lock.ts") = await inner("base/lock");
const { CONTROL_WORDS, Control, PARK, RUN }: typeof import("../src/threads/control.ts") =
  await inner("threads/control");
const { DEBUG, runVcpu }: typeof import("../src/threads/vcpu-loop.ts") = await inner("threads/vcpu-loop");

const PORT = 0x80;
const CODE = 0x1000;
/** Short rounds, and many: whatever else runs on the machine then hits some of them, and the median none. */
const ROUNDS = 1001;
const ROUND_MS = 2;

/** Real mode: `next: out 0x80, al; jmp next`. */
const GUEST = [0xe6, PORT, 0xeb, 0xfc];

/** Parts of the product that the package does not export. */
function inner(module: string) {
  return import(new URL(`../../../dist/${module}.js`, import.meta.url).href);
}

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

/** The loop of a vCPU thread, with one device on its port. */
function typescriptLoop(vcpu: Vcpu, locked: boolean): (count: number) => void {
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
  return (count) => {
    sink.left = count;
    sink.control.request(RUN);
    const stop = runVcpu(vcpu, ports, memory, sink.control, counters);
    if (stop === DEBUG) throw new Error("the guest met a breakpoint");
    if (stop !== undefined) throw new Error(`the guest ended: ${stop.message ?? stop.reason}`);
  };
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
vcpu.changeSregs({ cs: { selector: 0, base: 0 } });
vcpu.changeRegs({ rip: CODE, rflags: 2 });

const contestants = {
  cpp: (count: number) => {
    const done = vcpu.benchRunLoop(count);
    if (done !== count) throw new Error(`the loop in C++ ended after ${done} of ${count} exits`);
  },
  plain: typescriptLoop(vcpu, false),
  locked: typescriptLoop(vcpu, true),
};

// Warm-up: compiles the loops, and says how many exits make a round.
for (const loop of Object.values(contestants)) loop(20_000);
const count = Math.max(100, Math.round((ROUND_MS * 1e6) / nsPerExit(contestants.cpp, 5_000)));
const ns: Record<keyof typeof contestants, number[]> = { cpp: [], plain: [], locked: [] };
for (let round = 0; round < ROUNDS; round++) {
  ns.cpp.push(nsPerExit(contestants.cpp, count));
  ns.plain.push(nsPerExit(contestants.plain, count));
  ns.locked.push(nsPerExit(contestants.locked, count));
}

const peer = { peer: ns.cpp, peerName: "the same loop in C++" };
const results = new Results();
results.add("port write, TypeScript loop", "ns", { ours: ns.plain, ...peer }, { goal: 1.05 });
results.add("port write, device behind its lock", "ns", { ours: ns.locked, ...peer }, { goal: 1.05 });
console.log(`exit: medians of ${ROUNDS} rounds of ${count} exits each`);
results.finish();
