/** Trace files as they come back: whole, cut short, and not traces at all. */
import { expect, test } from "vitest";
import { encodeRecord, type TraceRecord } from "../../../src/trace/format.ts";
import { MAX_LINE_BYTES, parseTrace, type ReadRecord, TraceError } from "../../../src/trace/read.ts";

const HEADER: TraceRecord = {
  kind: "trace",
  version: 1,
  name: "vm",
  vcpus: 1,
  startedAt: "2024-01-01T00:00:00.000Z",
  unit: "ns",
  map: [{ space: "port", name: "com1", address: 0x3f8, length: 8, what: "device" }],
  registers: false,
};
const EXIT: TraceRecord = {
  kind: "exit",
  seq: 1,
  vcpu: 0,
  t: 12345,
  reason: "IO",
  rip: "0xffffffff81000000",
  mode: "long",
  direction: "out",
  port: 0x3f8,
  size: 1,
  count: 1,
  values: [72],
  device: "com1",
  outside: 350,
  inside: 10400,
};
const END: TraceRecord = { kind: "end", t: 20000, exits: 1, dropped: 0 };
const WHOLE = [HEADER, EXIT, END].map(encodeRecord).join("");

/** @param piece bytes that arrive at once */
async function read(text: string, piece = 7): Promise<ReadRecord[]> {
  const bytes = Buffer.from(text);
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
  }
  return collect(parseTrace(chunks(), "f"));
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

test("a trace comes back as it was written, however its bytes arrive", async () => {
  for (const piece of [1, 7, 1000]) expect(await read(WHOLE, piece)).toEqual([HEADER, EXIT, END]);
});

test("a trace cut anywhere gives all that is whole, and then one record that says where it ends", async () => {
  const first = encodeRecord(HEADER).length;
  const second = first + encodeRecord(EXIT).length;
  for (let length = first; length < WHOLE.length; length++) {
    const records = await read(WHOLE.slice(0, length));
    const whole = length >= second ? [HEADER, EXIT] : [HEADER];
    expect(records.slice(0, -1)).toEqual(whole);
    expect(records.at(-1)).toMatchObject({
      kind: "cut",
      line: whole.length,
      offset: whole.length === 2 ? second : first,
    });
  }
});

test("a trace cut in its header cannot be read at all, and says so", async () => {
  await expect(read(WHOLE.slice(0, 30))).rejects.toThrow("f:1: cut short in its header");
  await expect(read("")).rejects.toThrow("f: the file is empty");
});

test.each([
  ["hello\n", 'f:1: not a vmexit trace: it begins with "hello"'],
  ["\0\0\0\0", "f:1: not a vmexit trace"],
  ['{"traceEvents":[]}', "in the Chrome format"],
  ['{"kind":"trace","version":2}\n', "f:1: a trace of version 2; this vmexit reads version 1"],
  [encodeRecord(EXIT), "f:1: not a vmexit trace"],
  [`${encodeRecord(HEADER)}{"kind":"exit"}\n`, "f:2: not a trace record"],
  [`${encodeRecord(HEADER)}garbage\n${encodeRecord(END)}`, 'f:2: not a trace record: "garbage"'],
  [`${encodeRecord(HEADER)}${encodeRecord(HEADER)}`, "f:2: a second header"],
  [`${WHOLE}${encodeRecord(EXIT)}`, "f:4: more follows after the end record"],
])("%j is refused with the line that is wrong", async (text, message) => {
  const error = await read(text).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(TraceError);
  expect(String(error)).toContain(message);
});

test("no number, text or list of another kind gets through in a record's fields", async () => {
  const bad: object[] = [
    { ...EXIT, t: -1 },
    { ...EXIT, t: "1" },
    { ...EXIT, vcpu: 0.5 },
    { ...EXIT, rip: "0x" },
    { ...EXIT, rip: "<script>" },
    { ...EXIT, mode: "user" },
    { ...EXIT, reason: "x".repeat(257) },
    { ...EXIT, values: ["a"] },
    { ...EXIT, values: 1 },
    { ...EXIT, regs: { rax: "0x1" } },
    { ...EXIT, code: "f" },
    { ...EXIT, device: null },
    { kind: "kernel", t: 1, cycle: 0, vm: { exits: "1" }, vcpus: [] },
    { kind: "memory", t: 1, page: 4096, granule: 4096, dirty: [[1]] },
  ];
  for (const record of bad) {
    await expect(read(`${encodeRecord(HEADER)}${JSON.stringify(record)}\n`, 1000)).rejects.toThrow(
      "f:2: not a trace record",
    );
  }
});

test("a kind of record that only a later version knows is passed over", async () => {
  const [header, ...rest] = [HEADER, EXIT, END].map(encodeRecord);
  expect(await read(`${header}{"kind":"weather","sun":1}\n${rest.join("")}`)).toEqual([HEADER, EXIT, END]);
});

test("a file that is one endless line is given up, and does not fill memory", async () => {
  let sent = 0;
  async function* endless() {
    yield Buffer.from(encodeRecord(HEADER));
    for (;;) {
      sent++;
      yield Buffer.alloc(2 ** 16, 0x20);
    }
  }
  await expect(collect(parseTrace(endless(), "f"))).rejects.toThrow("f:2: a line of more than");
  expect(sent).toBeLessThan((2 * MAX_LINE_BYTES) / 2 ** 16);
});
