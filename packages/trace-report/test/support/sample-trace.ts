/**
 * Synthetic traces, the same each time: records like those of a machine, for tests
 * of code that reads traces.
 */
import { writeFileSync } from "node:fs";
import {
  type ExitRecord,
  encodeRecord,
  type MapRange,
  type TraceHeader,
  type TraceRecord,
  type TraceRegisters,
} from "vmexit/trace";
import { random } from "../../../../test/support/random.ts";

const MIB = 2 ** 20;

export const SAMPLE_MAP: readonly MapRange[] = [
  { space: "memory", name: "ram", address: 0, length: 256 * MIB, what: "ram" },
  { space: "memory", name: "virtio-blk0", address: 0xfeb0_0000, length: 0x1000, what: "device" },
  { space: "memory", name: "virtio-rng", address: 0xfeb0_1000, length: 0x1000, what: "device" },
  { space: "port", name: "i8042", address: 0x60, length: 1, what: "device" },
  { space: "port", name: "i8042", address: 0x64, length: 1, what: "device" },
  { space: "port", name: "cmos", address: 0x70, length: 2, what: "device" },
  { space: "port", name: "com1", address: 0x3f8, length: 8, what: "device" },
];

export function header(more: Partial<TraceHeader> = {}): TraceHeader {
  return {
    kind: "trace",
    version: 1,
    name: "sample",
    vcpus: 1,
    startedAt: "2026-01-02T03:04:05.678Z",
    unit: "ns",
    map: SAMPLE_MAP,
    registers: false,
    ...more,
  };
}

/** An OUT of 'H' to com1, unless `more` says otherwise. */
export function exit(seq: number, t: number, more: Partial<ExitRecord> = {}): ExitRecord {
  return {
    kind: "exit",
    seq,
    vcpu: 0,
    t,
    reason: "IO",
    rip: "0x1002",
    mode: "real",
    direction: "out",
    port: 0x3f8,
    size: 1,
    count: 1,
    values: [0x48],
    device: "com1",
    outside: 2000,
    inside: 500,
    ...more,
  };
}

/** An exit without an access. */
export function bareExit(seq: number, t: number, reason: string, more: Partial<ExitRecord> = {}): ExitRecord {
  const { direction, port, size, count, values, device, ...rest } = exit(seq, t);
  return { ...rest, reason, ...more };
}

const ZERO: TraceRegisters = {
  ...{ rax: "0x0", rbx: "0x0", rcx: "0x0", rdx: "0x0", rsi: "0x0", rdi: "0x0", rsp: "0x0", rbp: "0x0" },
  ...{ r8: "0x0", r9: "0x0", r10: "0x0", r11: "0x0", r12: "0x0", r13: "0x0", r14: "0x0", r15: "0x0" },
  ...{ rip: "0x0", rflags: "0x2", cs: "0x0", ss: "0x0" },
  ...{ cr0: "0x10", cr2: "0x0", cr3: "0x0", cr4: "0x0", efer: "0x0" },
};

export function registers(values: Partial<TraceRegisters> = {}): TraceRegisters {
  return { ...ZERO, ...values };
}

/** `mov dx,0x3f8; mov al,'H'; out dx,al; in al,dx; hlt`, as a machine with registers=on records it. */
export function tinyTrace(): TraceRecord[] {
  const code = "eeecf4";
  return [
    header({ name: "tiny", registers: true }),
    exit(1, 50_000, {
      rip: "0x1005",
      code,
      regs: registers({ rip: "0x1005", rax: "0x48", rdx: "0x3f8" }),
      outside: 9000,
      inside: 50_000,
    }),
    exit(2, 70_000, {
      rip: "0x1006",
      code: code.slice(2),
      direction: "in",
      values: [0x5a],
      regs: registers({ rip: "0x1006", rax: "0x48", rdx: "0x3f8" }),
      outside: 3000,
      inside: 11_000,
    }),
    bareExit(3, 84_000, "HLT", {
      rip: "0x1008",
      code: "000000000000",
      regs: registers({ rip: "0x1008", rax: "0x5a", rdx: "0x3f8" }),
      outside: 1000,
      inside: 11_000,
    }),
    { kind: "end", t: 85_000, exits: 3, dropped: 0 },
  ];
}

/** A boot of about a second: phases of console output, clock reads and a disk, on several vCPUs. */
export function* bootTrace(exits = 4000, vcpus = 2): Generator<TraceRecord, void> {
  const chance = random(7);
  yield header({ name: "boot", vcpus });
  yield { kind: "kernel", t: 0, cycle: 0, vm: { mmu_shadow_zapped: 0 }, vcpus: counters(vcpus, 0) };
  const clocks = new Array<number>(vcpus).fill(0);
  const duration = 1e9;
  let sampled = 0;
  for (let seq = 1; seq <= exits; seq++) {
    const done = seq / exits;
    const vcpu = done > 0.4 && chance() < 0.3 ? 1 + Math.floor(chance() * (vcpus - 1)) : 0;
    const inside = Math.floor(
      ((duration * vcpus) / exits) * -Math.log(1 - chance()) * (vcpu === 0 ? 0.5 : 0.6),
    );
    // Most answers are fast, and some wait for the host.
    const outside = Math.floor(1500 * Math.exp(chance() * 1.5) * (chance() < 0.02 ? 60 : 1));
    clocks[vcpu % vcpus] = Math.max(clocks[vcpu % vcpus] + inside, done * duration * 0.8);
    const t = clocks[vcpu % vcpus];
    clocks[vcpu % vcpus] += outside;
    yield bootExit(seq, vcpu % vcpus, t, inside, outside, done, chance());
    for (; t - sampled > 5e6; sampled += 5e6) {
      const dirty = Array.from({ length: 6 }, (): [number, number] => {
        const granule = Math.floor(128 * chance() ** 2 * Math.min(1, done + 0.1));
        return [granule, 1 + Math.floor(300 * chance() ** 3)];
      });
      yield { kind: "memory", t: sampled + 5e6, page: 4096, granule: 2 * MIB, dirty };
    }
  }
  const t = Math.max(...clocks);
  yield { kind: "kernel", t, cycle: 0, vm: { mmu_shadow_zapped: 12 }, vcpus: counters(vcpus, exits * 11) };
  yield { kind: "end", t, exits, dropped: 0 };
}

function bootExit(
  seq: number,
  vcpu: number,
  t: number,
  inside: number,
  outside: number,
  done: number,
  chance: number,
): ExitRecord {
  const time = { vcpu, inside, outside, mode: "long", rip: "0xffffffff81a3c2f4" } as const;
  if (chance < 0.03) return bareExit(seq, t, "INTR", time);
  if (done > 0.5 && chance < 0.5) {
    const offset = [0x50, 0x60, 0x64, 0x70, 0x100][Math.floor(chance * 10)];
    const { port, ...rest } = exit(seq, t, { ...time, reason: "MMIO", size: 4, device: "virtio-blk0" });
    const direction = offset === 0x60 || offset === 0x100 ? "read" : "write";
    return { ...rest, direction, address: 0xfeb0_0000 + offset, values: [1] };
  }
  if (done < 0.2 && chance < 0.6) {
    const out = chance < 0.3;
    return exit(seq, t, {
      ...time,
      ...(out ? {} : { direction: "in" }),
      port: 0x70 + (out ? 0 : 1),
      device: "cmos",
    });
  }
  if (chance > 0.97)
    return exit(seq, t, {
      ...time,
      direction: "in",
      port: 0xcfc,
      size: 4,
      values: [0xffffffff],
      device: "unclaimed",
    });
  const poll = chance < 0.75;
  if (poll) return exit(seq, t, { ...time, direction: "in", port: 0x3fd, values: [0x60] });
  return exit(seq, t, { ...time, values: [0x20 + (seq % 90)] });
}

function counters(vcpus: number, exits: number): Record<string, number>[] {
  return Array.from({ length: vcpus }, (_, n) => ({
    exits: Math.floor(exits / (n + 1)),
    io_exits: Math.floor(exits / 15),
    halt_exits: 40 * n,
    pf_taken: Math.floor(exits / 30),
    irq_injections: Math.floor(exits / 20),
    nmi_injections: 0,
  }));
}

/** Writes records as a trace file. */
export function writeTrace(path: string, records: Iterable<TraceRecord>): void {
  writeFileSync(path, Array.from(records, encodeRecord).join(""));
}
