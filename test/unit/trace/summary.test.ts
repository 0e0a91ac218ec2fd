/** A trace in numbers. */
import { expect, test } from "vitest";
import type { ExitRecord, Hex, TraceRecord } from "../../../src/trace/format.ts";
import { Histogram } from "../../../src/trace/histogram.ts";
import type { ReadRecord } from "../../../src/trace/read.ts";
import { summarize } from "../../../src/trace/summary.ts";
import { summaryText } from "../../../src/trace/summary-text.ts";
import { Symbols } from "../../../src/trace/symbols.ts";

const HEADER: TraceRecord = {
  ...{
    kind: "trace",
    version: 1,
    name: "vm",
    vcpus: 2,
    startedAt: "",
    unit: "ns",
    map: [],
    registers: false,
  },
};

function exit(seq: number, more: Partial<ExitRecord>): ExitRecord {
  const base = {
    kind: "exit",
    seq,
    vcpu: 0,
    t: seq * 1000,
    reason: "IO",
    rip: "0x1000",
    mode: "long",
  } as const;
  return { ...base, outside: 100, inside: 900, ...more };
}

async function* from(records: readonly ReadRecord[]) {
  yield* records;
}

const outs = (count: number, more: Partial<ExitRecord>) =>
  Array.from({ length: count }, (_, n) =>
    exit(n + 1, { direction: "out", port: 0x3f8, device: "com1", ...more }),
  );

test("exits are counted by reason and device, with their share of the vCPUs' time", async () => {
  const records: ReadRecord[] = [
    HEADER,
    ...outs(6, {}),
    ...outs(3, { port: 0x70, device: "cmos", outside: 700, inside: 300 }),
    exit(10, { reason: "MMIO", address: 0xfeb0_0000, device: "virtio-blk0" }),
    exit(11, { reason: "SHUTDOWN" }),
    { kind: "dropped", t: 11_500, vcpu: 1, count: 5 },
    { kind: "end", t: 12_000, exits: 11, dropped: 5 },
  ];
  const summary = await summarize(from(records));
  expect(summary).toMatchObject({ exits: 11, dropped: 5, duration: 12_000 });
  expect([summary.inside, summary.outside]).toEqual([8 * 900 + 3 * 300, 8 * 100 + 3 * 700]);
  expect(summary.rows).toEqual([
    { reason: "IO", device: "com1", count: 6, outside: 600, share: 600 / 11_000, p50: 100, p99: 100 },
    { reason: "IO", device: "cmos", count: 3, outside: 2100, share: 2100 / 11_000, p50: 699, p99: 699 },
    {
      reason: "MMIO",
      device: "virtio-blk0",
      count: 1,
      outside: 100,
      share: 100 / 11_000,
      p50: 100,
      p99: 100,
    },
    { reason: "SHUTDOWN", device: "", count: 1, outside: 100, share: 100 / 11_000, p50: 100, p99: 100 },
  ]);
  expect(summary.places).toEqual([
    { space: "port", address: 0x3f8, device: "com1", count: 6 },
    { space: "port", address: 0x70, device: "cmos", count: 3 },
    { space: "memory", address: 0xfeb0_0000, device: "virtio-blk0", count: 1 },
  ]);
  const text = summaryText(summary);
  expect(text).toContain("vm: 11 exits of 2 vCPUs in 0.012 ms; 5 more dropped");
  expect(text).toMatch(/^IO +com1 +6 +5\.45 % +100 +100$/m);
  expect(text).toMatch(/^memory 0xfeb00000 +virtio-blk0 +1$/m);
  expect(text).toContain("most hardware exits");
});

test("KVM's counters are what was counted during the trace, over a reset too", async () => {
  const kernel = (cycle: number, exits: number): TraceRecord => {
    return { kind: "kernel", t: 0, cycle, vm: { flushes: 1 }, vcpus: [{ exits }, { exits: 1 }] };
  };
  const records = [HEADER, kernel(0, 100), kernel(0, 150), kernel(1, 0), kernel(1, 7)];
  const summary = await summarize(from(records));
  expect(summary.kernel).toEqual({ vm: { flushes: 0 }, vcpus: [{ exits: 57 }, { exits: 0 }] });
  expect(summaryText(summary)).toMatch(/^exits +vCPUs +57$/m);
});

test("a trace without exits, or cut short, has a summary too", async () => {
  const empty = await summarize(from([HEADER]));
  expect(empty).toMatchObject({ exits: 0, rows: [], inside: 0 });
  expect(summaryText(empty)).toContain("0 exits");
  const cut: ReadRecord = { kind: "cut", message: "f: cut short: there", line: 1, offset: 2 };
  expect(
    summaryText(await summarize(from([HEADER, ...outs(2, {}), cut])))
      .trimEnd()
      .endsWith("f: cut short: there"),
  ).toBe(true);
});

test("the busiest code has names when symbols are given, and none when they do not fit", async () => {
  const symbols = new Symbols([
    { name: "start", address: 0xffff_ffff_8100_0000n },
    { name: "serial8250_out", address: 0xffff_ffff_8150_0000n },
  ]);
  const at = (rip: Hex, count: number) => outs(count, { rip });
  const records = [HEADER, ...at("0xffffffff81500010", 3), ...at("0x7c00", 1)];
  const fits = await summarize(from(records), symbols);
  expect(fits.symbolsMisfit).toBeUndefined();
  expect(fits.rips).toEqual([
    { rip: "0xffffffff81500010", symbol: "serial8250_out+0x10", count: 3 },
    { rip: "0x7c00", count: 1 },
  ]);
  const moved = await summarize(from([...records, ...at("0xffffffff9a500010", 2)]), symbols);
  expect(moved.symbolsMisfit).toContain("1 of 2 kernel addresses");
  expect(moved.rips.map(({ symbol }) => symbol)).toEqual([undefined, undefined, undefined]);
  expect(summaryText(moved)).toContain("nokaslr");
});

test("more different devices, ports and RIPs than any machine has do not take more memory", async () => {
  async function* hostile(): AsyncGenerator<ReadRecord> {
    for (let n = 0; n < 5000; n++) yield exit(n, { reason: `R${n}`, device: `D${n}`, port: n % 0x1_0000 });
  }
  const { rows, exits } = await summarize(hostile());
  expect(exits).toBe(5000);
  expect(rows.length).toBeLessThanOrEqual(1025);
  expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(5000);
  expect(rows[0].reason).toBe("(others)");
});

test("percentiles are right to 1.6 %, from a nanosecond to days", () => {
  for (const top of [1, 63, 64, 100, 12_345, 1e9, 1e15]) {
    const histogram = new Histogram();
    const values = Array.from({ length: 1000 }, (_, n) => Math.floor((top * (n + 1)) / 1000));
    for (const value of values) histogram.add(value);
    for (const [percent, index] of [
      [50, 499],
      [99, 989],
      [100, 999],
    ]) {
      const exact = values[index];
      expect(Math.abs(histogram.percentile(percent) - exact)).toBeLessThanOrEqual(exact * 0.016);
    }
  }
  expect(new Histogram().percentile(50)).toBe(0);
});

test("frames are counted by card, and decisions of the user network by what was asked for", async () => {
  const frame = { kind: "frame", t: 1, card: "virtio-net0", length: 60, text: "ARP" } as const;
  const denied = { kind: "connection", t: 2, card: "virtio-net0", protocol: "tcp" } as const;
  const summary = await summarize(
    from([
      HEADER,
      { ...frame, direction: "out" },
      { ...frame, direction: "in", length: 40 },
      { ...denied, target: "a:80", verdict: "denied" },
      { ...denied, target: "a:80", verdict: "denied" },
      { kind: "end", t: 3, exits: 0, dropped: 0 },
    ]),
  );
  expect(summary.network).toEqual({
    cards: [{ card: "virtio-net0", framesOut: 1, bytesOut: 60, framesIn: 1, bytesIn: 40 }],
    connections: [{ protocol: "tcp", target: "a:80", verdict: "denied", count: 2 }],
  });
  expect(summaryText(summary)).toMatch(/virtio-net0 +1 +60 +1 +40\n[\s\S]*tcp +a:80 +denied +2\n/);
});
