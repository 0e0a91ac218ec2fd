/** Exits between a vCPU thread and their reader. */
import { expect, test } from "vitest";
import { kvm_regs, kvm_run, kvm_segment, kvm_sregs, kvm_sync_regs } from "../../../src/kvm/abi.ts";
import { COPIED_REGISTERS, ExitRegisters } from "../../../src/kvm/exit-registers.ts";
import type { NativeKvmVcpu } from "../../../src/sys/native.ts";
import {
  DATA_BYTES,
  RING_RECORDS,
  TRACE_RING_BYTES,
  TraceReader,
  TraceWriter,
} from "../../../src/threads/trace-ring.ts";
import { CPU_MODES, REGISTER_NAMES } from "../../../src/trace/format.ts";

function ring() {
  const buffer = new SharedArrayBuffer(TRACE_RING_BYTES);
  const times = new Float64Array(2);
  return { writer: new TraceWriter(buffer), reader: new TraceReader(buffer, times), buffer, times };
}

/** Registers as KVM leaves them in the kvm_run page. */
function synced() {
  const page = new ArrayBuffer(12_288);
  const data = new DataView(page);
  const nobody: Partial<NativeKvmVcpu> = {};
  // A vCPU is not asked for what KVM gives by itself.
  const registers = new ExitRegisters(nobody as NativeKvmVcpu, page, true);
  const regs = kvm_run.s + kvm_sync_regs.regs;
  const sregs = kvm_run.s + kvm_sync_regs.sregs;
  return { registers, data, regs, sregs };
}

const bytes = (...values: number[]) => ({
  dataLength: values.length,
  copyData: (into: Uint8Array, at: number, most: number) => {
    const some = values.slice(0, most);
    into.set(some, at);
    return some.length;
  },
});

test("what the vCPU records is what the reader finds, oldest first", () => {
  const { writer, reader } = ring();
  const { registers, data, regs } = synced();
  expect(reader.next()).toBe(false);
  for (const n of [1, 2]) {
    data.setBigUint64(regs + kvm_regs.rip, 0xffff_ffff_8100_0000n + BigInt(n), true);
    registers.update(false);
    expect(writer.begin(1000 * n, 100 * n, 2, registers)).toBe(true);
    writer.putAccess(n === 1, 0x3f8, 1, 3);
    writer.putData(bytes(n, n, n));
    writer.publish();
    writer.settle(1010 * n);
  }
  for (const n of [1, 2]) {
    expect(reader.next()).toBe(true);
    const { time, inside, outside, reason, rip, mode, direction, address, size, count } = reader;
    expect([time, inside, outside, reason]).toEqual([1000 * n, 100 * n, 10 * n, 2]);
    expect([rip, mode]).toEqual([0xffff_ffff_8100_0000n + BigInt(n), 4]);
    expect([direction, address, size, count]).toEqual([n === 1 ? 2 : 1, 0x3f8, 1, 3]);
    expect([...reader.kept]).toEqual([n, n, n]);
    expect(reader.hasState).toBe(false);
    reader.take();
  }
  expect(reader.next()).toBe(false);
});

test("an exit without an access shows nothing of the access whose place it took", () => {
  const { writer, reader } = ring();
  const { registers } = synced();
  for (let n = 0; n <= RING_RECORDS; n++) {
    writer.begin(n, 1, n < RING_RECORDS ? 6 : 8, registers);
    if (n < RING_RECORDS) {
      writer.putAccess(true, 2 ** 40, 8, 1);
      writer.putData(bytes(1, 2, 3, 4, 5, 6, 7, 8));
    }
    writer.publish();
    writer.settle(n + 1);
    reader.next();
    if (n < RING_RECORDS) reader.take();
  }
  expect([reader.reason, reader.direction, reader.count, reader.kept.length]).toEqual([8, 0, 0, 0]);
});

test("a full ring drops, and says so in the next record that fits", () => {
  const { writer, reader } = ring();
  const { registers } = synced();
  const put = (n: number) => {
    const fits = writer.begin(n, 0, 2, registers);
    if (fits) writer.publish();
    writer.settle(n + 1);
    return fits;
  };
  for (let n = 0; n < RING_RECORDS; n++) expect(put(n)).toBe(true);
  expect([put(-1), put(-1), put(-1)]).toEqual([false, false, false]);
  expect(reader.lostSince).toBe(3);
  for (let n = 0; n < 2; n++) {
    expect(reader.next()).toBe(true);
    expect([reader.time, reader.lost]).toEqual([n, 0]);
    reader.take();
  }
  expect([put(9000), put(9001), put(-1)]).toEqual([true, true, false]);
  const found: [number, number][] = [];
  for (; reader.next(); reader.take()) if (reader.time >= 9000) found.push([reader.time, reader.lost]);
  expect(found).toEqual([
    [9000, 3],
    [9001, 0],
  ]);
  expect(reader.lostSince).toBe(1);
});

test("the newest exit is seen while the guest runs on, as soon as it does", () => {
  const { writer, reader, times } = ring();
  const { registers } = synced();
  writer.begin(1000, 100, 2, registers);
  times[0] = 900; // of the KVM_RUN before
  expect(reader.next()).toBe(false);
  writer.publish();
  expect(reader.next()).toBe(false); // on its way into the guest
  times[0] = 1300;
  expect(reader.next()).toBe(true);
  expect(reader.outside).toBe(300);
  // Left and entered again meanwhile: what the record says counts.
  writer.settle(1300);
  times[0] = 5000;
  expect(reader.next()).toBe(true);
  expect(reader.outside).toBe(300);
});

test("of much data the beginning is kept, and the next record is not touched", () => {
  const { writer, reader } = ring();
  const { registers } = synced();
  writer.begin(1, 0, 2, registers);
  writer.putAccess(true, 0x80, 1, 4096);
  writer.putData(bytes(...Array.from({ length: 4096 }, (_, n) => n & 0xff)));
  writer.publish();
  writer.settle(2);
  reader.next();
  expect(reader.count).toBe(4096);
  expect([...reader.kept]).toEqual(Array.from({ length: DATA_BYTES }, (_, n) => n));
  reader.take();
  expect(reader.next()).toBe(false);
});

test("registers come in the order of their names, with the code around RIP, when they are wanted", () => {
  const { writer, reader } = ring();
  const { registers, data, regs, sregs } = synced();
  expect(COPIED_REGISTERS).toBe(REGISTER_NAMES.length);
  expect(writer.wantsState).toBe(false);
  reader.wantState(true);
  expect(writer.wantsState).toBe(true);
  const value = (n: number) => 0x1122_3344_0000_0000n + BigInt(n);
  for (let n = 0; n < 18; n++) data.setBigUint64(regs + 8 * n, value(n), true);
  data.setUint16(sregs + kvm_sregs.cs + kvm_segment.selector, 0x10, true);
  data.setUint16(sregs + kvm_sregs.ss + kvm_segment.selector, 0x18, true);
  for (const [n, name] of (["cr0", "cr2", "cr3", "cr4", "efer"] as const).entries()) {
    data.setBigUint64(sregs + kvm_sregs[name], value(100 + n), true);
  }
  writer.begin(1, 0, 2, registers);
  writer.putState(registers, Uint8Array.of(0xee, 0xf4), Uint8Array.of(0x90));
  writer.publish();
  writer.settle(2);
  reader.next();
  expect(reader.hasState).toBe(true);
  const found = Object.fromEntries(REGISTER_NAMES.map((name, n) => [name, reader.register(n)]));
  expect(found).toMatchObject({
    rax: value(0),
    r8: value(8),
    rip: value(16),
    rflags: value(17),
    cs: 0x10n,
    ss: 0x18n,
  });
  expect(found).toMatchObject({
    cr0: value(100),
    cr2: value(101),
    cr3: value(102),
    cr4: value(103),
    efer: value(104),
  });
  expect([[...reader.code], [...reader.before]]).toEqual([[0xee, 0xf4], [0x90]]);
});

test.each([
  ["real", { cr0: 0x10 }],
  ["protected", { cr0: 0x11 }],
  ["virtual-8086", { cr0: 0x11, rflags: 0x2_0002 }],
  ["compatibility", { cr0: 0x8000_0011, efer: 0x500 }],
  ["long", { cr0: 0x8000_0011, efer: 0x500, l: 1 }],
  // LME alone is not yet long mode.
  ["protected", { cr0: 0x11, efer: 0x100, l: 1 }],
])(
  "a CPU is seen to be in %s mode with %j",
  (name, { cr0, efer = 0, rflags = 2, l = 0 }: Record<string, number>) => {
    const { registers, data, regs, sregs } = synced();
    data.setUint32(sregs + kvm_sregs.cr0, cr0, true);
    data.setUint32(sregs + kvm_sregs.efer, efer, true);
    data.setUint32(regs + kvm_regs.rflags, rflags, true);
    data.setUint8(sregs + kvm_sregs.cs + kvm_segment.l, l);
    registers.start();
    registers.update(false);
    expect(CPU_MODES[registers.mode]).toBe(name);
  },
);
