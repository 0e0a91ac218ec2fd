/** Between the kernel's structs and objects: registers, CPUID, MSRs, statistics, capabilities. */
import { expect, test } from "vitest";
import { kvm_stats_desc, kvm_stats_header } from "../../../src/kvm/abi.ts";
import { capabilities, capabilityName, capabilityNumber } from "../../../src/kvm/capabilities.ts";
import { readCpuid, writeCpuid } from "../../../src/kvm/cpuid.ts";
import { readMsrs, writeMsrs } from "../../../src/kvm/msr.ts";
import { readRegs, readSregs, writeRegs, writeSregs } from "../../../src/kvm/registers.ts";
import { readCounters, readStats } from "../../../src/kvm/stats.ts";

const noise = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 37 + 11) & 0xff);

test("general registers survive the way to an object and back", () => {
  const bytes = noise(144);
  const copy = new Uint8Array(144);
  writeRegs(copy, readRegs(bytes));
  expect(copy).toEqual(bytes);
});

test("special registers survive the way to an object and back", () => {
  const once = new Uint8Array(312);
  writeSregs(once, readSregs(noise(312))); // without the padding
  const twice = new Uint8Array(312);
  writeSregs(twice, readSregs(once));
  expect(twice).toEqual(once);
  expect(readSregs(once)).toEqual(readSregs(noise(312)));
});

test("a change writes what it names and nothing else", () => {
  const bytes = noise(312);
  const before = readSregs(bytes);
  writeSregs(bytes, { cr0: 5, ss: { limit: 7, l: 1 } });
  expect(readSregs(bytes)).toEqual({ ...before, cr0: 5n, ss: { ...before.ss, limit: 7, l: 1 } });
});

test("structs are found inside larger buffers", () => {
  const large = noise(1000);
  expect(readRegs(large.subarray(100, 244))).toEqual(readRegs(large.slice(100, 244)));
});

test("CPUID entries survive the way to words and back, without the padding", () => {
  const entries = [
    { function: 0x8000_0001, index: 1, flags: 1, eax: 0xffff_ffff, ebx: 2, ecx: 3, edx: 4 },
    { function: 0xb, index: 0, flags: 0, eax: 5, ebx: 6, ecx: 7, edx: 8 },
  ];
  expect(writeCpuid(entries).length).toBe(20);
  expect(readCpuid(writeCpuid(entries))).toEqual(entries);
});

test("MSRs survive the way to bytes and back, as many as KVM did", () => {
  const entries = [
    { index: 0xc000_0080, data: 0xffff_ffff_ffff_ffffn },
    { index: 0x10, data: 1n },
  ];
  expect(readMsrs(writeMsrs(entries), 2)).toEqual(entries);
  expect(readMsrs(writeMsrs(entries), 1)).toEqual([entries[0]]);
});

test("capabilities have their numbers, and numbers their names", () => {
  expect(capabilityNumber("IRQCHIP")).toBe(0);
  expect(capabilityNumber(4711)).toBe(4711);
  expect(capabilityName(36)).toBe("KVM_CAP_IOEVENTFD");
  expect(capabilities.size).toBeGreaterThan(40);
});

/** Statistics with one counter `exits` = 7 and one histogram. */
function statistics(): Uint8Array {
  const nameSize = 16;
  const bytes = new Uint8Array(256);
  const data = new DataView(bytes.buffer);
  data.setUint32(kvm_stats_header.name_size, nameSize, true);
  data.setUint32(kvm_stats_header.num_desc, 2, true);
  data.setUint32(kvm_stats_header.desc_offset, 40, true);
  data.setUint32(kvm_stats_header.data_offset, 160, true);
  for (const [i, name, size, offset] of [
    [0, "exits", 1, 0],
    [1, "waits", 3, 8],
  ] as const) {
    const at = 40 + i * (kvm_stats_desc.sizeof + nameSize);
    data.setUint16(at + kvm_stats_desc.size, size, true);
    data.setUint32(at + kvm_stats_desc.offset, offset, true);
    bytes.set(new TextEncoder().encode(name), at + kvm_stats_desc.name);
  }
  [7n, 1n, 2n, 3n].forEach((value, i) => {
    data.setBigUint64(160 + 8 * i, value, true);
  });
  return bytes;
}

const reader = (bytes: Uint8Array) => (offset: number, out: Uint8Array) => {
  const part = bytes.subarray(offset, offset + out.length);
  out.set(part);
  return part.length;
};

test("statistics are found by name: counters as numbers, histograms as lists", () => {
  expect(readStats(reader(statistics()))).toEqual(
    new Map<string, bigint | bigint[]>([
      ["exits", 7n],
      ["waits", [1n, 2n, 3n]],
    ]),
  );
});

test("counters are what only grows: no gauge, peak or histogram is among them", () => {
  const GAUGE = 1; // KVM_STATS_TYPE_INSTANT
  const bytes = statistics();
  expect(readCounters(reader(bytes))).toEqual({ exits: 7 });
  new DataView(bytes.buffer).setUint32(40 + kvm_stats_desc.flags, GAUGE, true);
  expect(readCounters(reader(bytes))).toEqual({});
});

test("names of counters are read once for all machines, and again when they are others", () => {
  const bytes = statistics();
  const offsets: number[] = [];
  const read = (offset: number, out: Uint8Array) => {
    offsets.push(offset);
    return reader(bytes)(offset, out);
  };
  expect(readCounters(read, "vm")).toEqual({ exits: 7 });
  const first = offsets.splice(0);
  expect(readCounters(read, "vm")).toEqual({ exits: 7 });
  expect(offsets).toEqual([first[0], first[2]]); // the header and the values, without the table between
  expect(readCounters(read, "vcpu")).toEqual({ exits: 7 });
  new DataView(bytes.buffer).setUint32(kvm_stats_header.num_desc, 0, true);
  expect(readCounters(read, "vm")).toEqual({});
});

test("statistics that end early or claim too much are an error, not a large buffer", () => {
  expect(() => readStats(reader(statistics().subarray(0, 170)))).toThrow(RangeError);
  for (const field of [kvm_stats_header.name_size, kvm_stats_header.num_desc]) {
    const bytes = statistics();
    new DataView(bytes.buffer).setUint32(field, 0xffffffff, true);
    expect(() => readStats(reader(bytes))).toThrow(RangeError);
  }
});
