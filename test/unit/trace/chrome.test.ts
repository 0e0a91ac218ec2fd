/** Traces for Perfetto and chrome://tracing. */
import { expect, test } from "vitest";
import { ChromeTrace } from "../../../src/trace/chrome.ts";
import type { ExitRecord, TraceRecord } from "../../../src/trace/format.ts";

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
const EXIT: ExitRecord = {
  ...{ kind: "exit", seq: 1, vcpu: 1, t: 5001, reason: "IO", rip: "0x10", mode: "real", direction: "out" },
  ...{ port: 0x3f8, size: 1, count: 1, values: [72], device: "com1", outside: 350, inside: 4000 },
};

function events(records: readonly TraceRecord[]) {
  const chrome = new ChromeTrace();
  const text = records.map((record) => chrome.encode(record)).join("");
  const all: { ph: string; name: string; tid?: number; ts: number; dur: number; args: object }[] =
    JSON.parse(text);
  return all;
}

test("every vCPU has a named track, on which guest and host take turns", () => {
  const all = events([
    HEADER,
    EXIT,
    { ...EXIT, seq: 2, t: 9351 },
    { kind: "end", t: 10_000, exits: 2, dropped: 0 },
  ]);
  expect(all.filter(({ name }) => name === "thread_name").map(({ tid, args }) => [tid, args])).toEqual([
    [0, { name: "vCPU 0" }],
    [1, { name: "vCPU 1" }],
  ]);
  expect(all.filter(({ ph }) => ph === "X").map(({ name, tid, ts, dur }) => [name, tid, ts, dur])).toEqual([
    ["guest", 1, 1.001, 4],
    ["IO com1", 1, 5.001, 0.35],
    ["guest", 1, 5.351, 4],
    ["IO com1", 1, 9.351, 0.35],
  ]);
  expect(all.find(({ name }) => name === "IO com1")?.args).toMatchObject({
    port: "0x3f8",
    values: [72],
    rip: "0x10",
  });
});

test("what was dropped and what was written to memory is there too; time never begins before the trace", () => {
  const all = events([
    HEADER,
    { ...EXIT, t: 1000, inside: 50_000 },
    { kind: "dropped", t: 2000, vcpu: 1, count: 17 },
    {
      kind: "memory",
      t: 3000,
      page: 4096,
      granule: 2 ** 21,
      dirty: [
        [0, 2],
        [7, 3],
      ],
    },
    { kind: "kernel", t: 3000, cycle: 0, vm: {}, vcpus: [] },
    { kind: "end", t: 10_000, exits: 1, dropped: 17 },
  ]);
  expect(all.find(({ name }) => name === "guest")).toMatchObject({ ts: 0, dur: 1 });
  expect(all.find(({ ph }) => ph === "i")).toMatchObject({ name: "17 exits dropped", tid: 1, ts: 2 });
  expect(all.find(({ ph }) => ph === "C")?.args).toEqual({ pages: 5 });
});

test("an empty trace is valid JSON as well", () => {
  expect(events([HEADER, { kind: "end", t: 0, exits: 0, dropped: 0 }])).toHaveLength(3);
});
