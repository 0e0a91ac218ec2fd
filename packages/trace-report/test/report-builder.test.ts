import { expect, test } from "vitest";
import type { ReadRecord } from "vmexit/trace";
import { MAX_BINS } from "../src/growing-bins.ts";
import { MAX_LANES, MAX_REASONS, type ReportData } from "../src/report-data.ts";
import { buildReport } from "../src/write-report.ts";
import { bareExit, bootTrace, exit, header, tinyTrace } from "./support/sample-trace.ts";

const ALL = { from: 1, count: 10_000 };
const report = (records: Iterable<ReadRecord>, range = ALL): Promise<ReportData> =>
  buildReport(records, range);
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

test("every exit is in the totals, the timeline, the tree and the histogram", async () => {
  const data = await report(bootTrace(3000, 2));
  expect(data.exits).toBe(3000);
  expect(sum(data.reasons.map(({ exits }) => exits))).toBe(3000);
  expect(sum(data.timeline.exits.map(sum))).toBe(3000);
  expect(data.tree.exits).toBe(3000);
  expect(sum(data.durations.exits.map(sum))).toBe(3000);
});

test("the lanes hold the time that the exits say was spent inside and outside", async () => {
  const data = await report([header(), exit(1, 10_000, { inside: 8000 }), exit(2, 20_000, { inside: 8000 })]);
  const [lane] = data.timeline.lanes;
  expect(sum(lane.guest)).toBe(16_000);
  expect(sum(lane.host.map(sum))).toBe(4000);
  expect(data).toMatchObject({ inside: 16_000, outside: 4000, duration: 22_000 });
});

test("a trace of hours has no more bins than one of a millisecond may have", async () => {
  const hour = 3600e9;
  const data = await report([header(), exit(1, 1000), exit(2, hour), exit(3, 3 * hour)]);
  const [bins] = data.timeline.exits;
  expect(bins.length).toBeLessThanOrEqual(MAX_BINS);
  expect(bins.length).toBeGreaterThan(MAX_BINS / 2);
  expect(bins[0]).toBe(1);
  expect(bins.at(-1)).toBe(1);
  expect(bins.findIndex((count, n) => n > 0 && count > 0)).toBe(Math.floor(hour / data.timeline.width));
});

test("the most frequent reason comes first, and each number means the same reason everywhere", async () => {
  const data = await report([
    header(),
    bareExit(1, 1000, "HLT"),
    exit(2, 5000),
    exit(3, 9000, { outside: 70_000 }),
  ]);
  expect(data.reasons.map(({ name, exits }) => [name, exits])).toEqual([
    ["IO", 2],
    ["HLT", 1],
  ]);
  expect(data.timeline.exits.map(sum)).toEqual([2, 1]);
  expect(data.timeline.lanes[0].host.map(sum)).toEqual([2000 + 70_000, 2000]);
  expect(data.steps.steps.map(({ reason }) => reason)).toEqual([1, 0, 0]);
});

test("the tree goes from the reason to the device to its register, by the register's name", async () => {
  const { tree } = await report([
    header(),
    exit(1, 1000, { port: 0x3fd, direction: "in" }),
    exit(2, 5000),
    exit(3, 9000, { port: 0x80, device: "unclaimed" }),
  ]);
  const [io] = tree.children;
  expect(io.children.map(({ name }) => name)).toEqual(["com1", "unclaimed"]);
  expect(io.children[0].children.map(({ name }) => name)).toEqual(["in 0x3fd LSR", "out 0x3f8 THR"]);
  expect(io.children[1].children.map(({ name }) => name)).toEqual(["out 0x80"]);
});

test("the address map counts the exits of each range", async () => {
  const { map } = await report([
    header(),
    exit(1, 1000),
    exit(2, 5000, { port: 0x3ff }),
    exit(3, 9000, { port: 0x400 }),
  ]);
  expect(map.filter(({ exits }) => exits > 0)).toMatchObject([{ name: "com1", exits: 2 }]);
});

test("names without end become 'others', and vCPUs without end have no lane", async () => {
  const records = Array.from({ length: 300 }, (_, n) =>
    exit(n + 1, 1000 * n, { reason: `R${n}`, vcpu: n, port: n }),
  );
  const data = await report([header(), ...records]);
  expect(data.reasons).toHaveLength(MAX_REASONS);
  expect(data.reasons.at(-1)?.name).toBe("others");
  expect(data.timeline.lanes).toHaveLength(MAX_LANES);
  expect(data.tree.children.at(0)?.children[0].children.length).toBeLessThanOrEqual(64);
  expect(data.exits).toBe(300);
});

test("a file whose vCPU is in many places at once costs no more time than an honest one", async () => {
  const everywhere = Array.from({ length: 20_000 }, (_, n) =>
    exit(n + 1, 1e15, { inside: 1e15, outside: 1e15 }),
  );
  const data = await report([header(), ...everywhere], { from: 1, count: 0 });
  expect(sum(data.timeline.lanes[0].guest)).toBeCloseTo(1e15, -6);
}, 5000);

test("numbers at the edge of what a trace may hold do not hang", async () => {
  const data = await report([
    header(),
    exit(1, Number.MAX_VALUE, { inside: Number.MAX_VALUE, outside: Number.MAX_VALUE }),
    { kind: "memory", t: Number.MAX_VALUE, page: 4096, granule: 0, dirty: [[2 ** 53 - 1, 2 ** 53 - 1]] },
  ]);
  expect(data.exits).toBe(1);
}, 5000);

test("the step view holds the exits that were asked for, and no others", async () => {
  const { steps } = await report(bootTrace(500, 1), { from: 101, count: 50 });
  expect(steps.steps.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, n) => 101 + n));
});

test("a step holds the registers that changed since the vCPU's step before", async () => {
  const { steps } = await report(tinyTrace());
  expect(steps.registers).toBe(true);
  expect(Object.keys(steps.steps[0].changed ?? {})).toHaveLength(25);
  expect(steps.steps[1].changed).toEqual({ rip: "0x1006" });
  expect(steps.steps[2].changed).toEqual({ rip: "0x1008", rax: "0x5a" });
});

test("memory written is added up by time and address, whatever the size of either", async () => {
  const sample = (t: number, dirty: [number, number][]) =>
    ({ kind: "memory", t, page: 4096, granule: 2 ** 21, dirty }) as const;
  const { memory } = await report([
    header(),
    sample(1e6, [[0, 3]]),
    sample(1e12, [
      [0, 1],
      [5000, 7],
    ]),
  ]);
  expect(memory?.cells.map(({ pages }) => pages).sort()).toEqual([1, 3, 7]);
  const top = memory?.cells.find(({ pages }) => pages === 7);
  expect(Math.floor((5000 * 2 ** 21) / (memory?.rowBytes ?? 0))).toBe(top?.row);
  expect(Math.floor(1e12 / (memory?.columnWidth ?? 0))).toBe(top?.column);
});

test("the kernel's counters are those of the end, beside how much they grew", async () => {
  const kernel = (t: number, exits: number, cycle = 0) =>
    ({ kind: "kernel", t, cycle, vm: { slots: 2 }, vcpus: [{ exits }] }) as const;
  const counted = async (...records: ReadRecord[]) =>
    (await report([header(), ...records])).kernel?.vcpus[0][0];
  expect(await counted(kernel(0, 100), kernel(9, 160))).toEqual({ name: "exits", value: 160, during: 60 });
  expect(await counted(kernel(9, 160))).toEqual({ name: "exits", value: 160, during: 160 });
  // A reset in between: what was counted before it is gone.
  const afterReset = await counted(kernel(0, 100), kernel(5, 900), kernel(6, 10, 1), kernel(9, 40, 1));
  expect(afterReset).toEqual({ name: "exits", value: 40, during: 30 });
});

test("dropped exits and a cut are passed on", async () => {
  const data = await report([
    header(),
    exit(1, 1000),
    { kind: "dropped", t: 2000, vcpu: 0, count: 17 },
    { kind: "cut", message: "boot.trace: cut short", line: 3, offset: 400 },
  ]);
  expect(data).toMatchObject({ dropped: 17, cut: "boot.trace: cut short" });
});

test("a trace of which nothing but the header is left makes a report", async () => {
  const data = await report([header({ map: [] })]);
  expect(data).toMatchObject({ exits: 0, duration: 0, reasons: [], map: [], steps: { steps: [] } });
  expect(data.memory).toBeUndefined();
  expect(data.kernel).toBeUndefined();
});

test("frames and decisions are counted; the list of them has a limit", async () => {
  const frame = (n: number): ReadRecord => ({
    ...({ kind: "frame", t: n, card: "virtio-net0", direction: n % 2 === 0 ? "out" : "in" } as const),
    ...{ length: 60, text: "ARP" },
  });
  const { network } = await report([
    header(),
    { kind: "connection", t: 0, card: "virtio-net0", protocol: "tcp", target: "a:80", verdict: "denied" },
    ...Array.from({ length: 1000 }, (_, n) => frame(n)),
    { kind: "end", t: 1000, exits: 0, dropped: 0, lostFrames: 7 },
  ]);
  const half = { frames: 500, bytes: 30_000 };
  expect(network).toMatchObject({
    cards: [{ framesOut: half.frames, bytesOut: half.bytes, framesIn: half.frames, bytesIn: half.bytes }],
    connections: [{ protocol: "tcp", target: "a:80", verdict: "denied", count: 1 }],
    more: 501,
    lost: 7,
  });
  expect(network?.events.length).toBe(500);
  expect((await report([header()])).network).toBeUndefined();
});
