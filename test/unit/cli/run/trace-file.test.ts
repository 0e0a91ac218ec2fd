/** Traces on their way into a file. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RecordSource, TraceFileWriter } from "../../../../src/cli/run/trace-file.ts";
import type { TraceRecord } from "../../../../src/trace/format.ts";
import { type ReadRecord, readTrace } from "../../../../src/trace/read.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmexit-trace-"));
});
afterAll(() => rm(folder, { recursive: true }));

function records(exits: number, dropped = 0): TraceRecord[] {
  return [
    { kind: "trace", version: 1, name: "vm", vcpus: 1, startedAt: "", unit: "ns", map: [], registers: false },
    ...Array.from(
      { length: exits },
      (_, n): TraceRecord => ({
        ...{ kind: "exit", seq: n + 1, vcpu: 0, t: n, reason: "HLT", rip: "0x1", mode: "real" },
        ...{ outside: 1, inside: 1 },
      }),
    ),
    { kind: "end", t: exits, exits, dropped },
  ];
}

function source(list: readonly TraceRecord[]) {
  let taken = 0;
  const all: RecordSource = {
    stop() {},
    async *[Symbol.asyncIterator]() {
      for (const record of list) {
        taken++;
        yield record;
      }
    },
  };
  return { all, taken: () => taken };
}

async function write(path: string, list: readonly TraceRecord[]) {
  let said = "";
  const file = await TraceFileWriter.create(path);
  const { all, taken } = source(list);
  await file.write(all, (text) => {
    said += text;
  });
  return { said, taken: taken() };
}

test("what was traced is in the file when the trace has ended, and comes back", async () => {
  const path = join(folder, "boot.trace");
  const list = records(20_000);
  expect((await write(path, list)).said).toBe("");
  const back: ReadRecord[] = [];
  for await (const record of readTrace(path)) back.push(record);
  expect(back).toEqual(list);
});

test("a name that ends in .json gets what Perfetto reads", async () => {
  const path = join(folder, "boot.json");
  await write(path, records(3));
  const events: { name: string }[] = JSON.parse(await readFile(path, "utf8"));
  expect(events.filter(({ name }) => name === "HLT")).toHaveLength(3);
});

test("exits that are missing are reported", async () => {
  const { said } = await write(join(folder, "slow.trace"), records(1, 17));
  expect(said).toContain("slow.trace lacks 17 exits");
});

test("a file that cannot be written is reported once, and the trace ends there", async () => {
  const { said, taken } = await write("/dev/full", records(200_000));
  expect(said).toMatch(/^vmexit: the trace \/dev\/full ends here: ENOSPC.*\n$/);
  expect(taken).toBeLessThan(200_000);
});

test("a file that cannot be made is an error before anything is traced", async () => {
  await expect(TraceFileWriter.create(join(folder, "none", "x"))).rejects.toThrow("ENOENT");
});
