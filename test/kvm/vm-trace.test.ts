/** Exits as data: what vm.trace() gives of guests of a few instructions. */
import { expect, test } from "vitest";
import type { ExitRecord, Trace, TraceFilter, TraceRecord } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import {
  exitWith,
  FLOOD,
  FOR_EVER,
  flatMachine,
  inByte,
  outByte,
  outDword,
  outWord,
  RESET,
} from "../support/flat-machine.ts";

async function all(trace: Trace): Promise<TraceRecord[]> {
  const records: TraceRecord[] = [];
  for await (const record of trace) records.push(record);
  return records;
}

function exitsOf(records: readonly TraceRecord[]): ExitRecord[] {
  return records.filter((record) => record.kind === "exit");
}

/** Without what differs from run to run. */
function essence({ reason, direction, port, address, size, count, values, device }: ExitRecord) {
  return [reason, direction, port ?? address, size, count, values, device];
}

const HELLO = [0xb0, 0x48, 0xe6, 0xe9]; // mov al, 'H'; out 0xe9, al

test("a trace is a header, every exit with what was said and who answered, and an end", async () => {
  await using vm = await flatMachine([
    ...[...HELLO, ...inByte(0x3fd)],
    ...[...outWord(0x80, 0x1234), ...outDword(0x500, 0x89ab_cdef), ...inByte(0x501)],
    ...exitWith(0),
  ]);
  const trace = vm.trace();
  await vm.start();
  await vm.exited;
  const records = await all(trace);
  expect(records[0]).toMatchObject({ kind: "trace", version: 1, name: "vm", vcpus: 1, map: vm.map });
  const exits = exitsOf(records);
  expect(exits.map(essence)).toEqual([
    ["IO", "out", 0xe9, 1, 1, [0x48], "debug-console"],
    ["IO", "in", 0x3fd, 1, 1, [0x60], "com1"],
    ["IO", "out", 0x80, 2, 1, [0x1234], "post-code"],
    ["IO", "out", 0x500, 4, 1, [0x89ab_cdef], "unclaimed"],
    ["IO", "in", 0x501, 1, 1, [0xff], "unclaimed"],
    ["IO", "out", 0xf4, 1, 1, [0], "debug-exit"],
  ]);
  expect(exits.map(({ seq, vcpu, mode }) => [seq, vcpu, mode])).toEqual(
    exits.map((_, n) => [n + 1, 0, "real"]),
  );
  expect(records.at(-1)).toMatchObject({ kind: "end", exits: 6, dropped: 0 });
  expect(vm.stats().exits).toEqual({ IO: 6 });
});

test("times add up: each exit begins after the time outside and the time inside since the last one", async () => {
  await using vm = await flatMachine([...HELLO, ...HELLO, ...HELLO, ...exitWith(0)]);
  const trace = vm.trace();
  await vm.start();
  await vm.exited;
  const exits = exitsOf(await all(trace));
  for (const { t, inside, outside } of exits) {
    expect([t, inside, outside].map(Number.isInteger)).toEqual([true, true, true]);
    expect(inside).toBeGreaterThan(100);
    expect(outside).toBeGreaterThan(100);
  }
  for (let n = 1; n < exits.length; n++) {
    expect(exits[n].t).toBe(exits[n - 1].t + exits[n - 1].outside + exits[n].inside);
  }
});

test("rep outsb is one exit of many values to one port", async () => {
  const text = "many at once";
  const code = [
    ...[0xba, 0xe9, 0x00], //       mov dx, 0xe9
    ...[0xbe, 0x0d, 0x00], //       mov si, text
    ...[0xb9, text.length, 0x00], // mov cx, length
    ...[0xf3, 0x6e], //             rep outsb
    ...[0xeb, text.length], //      jmp over the text
    ...Buffer.from(text),
    ...exitWith(0),
  ];
  await using vm = await flatMachine(code);
  const trace = vm.trace({ ports: [[0xe9, 0xe9]] });
  await vm.start();
  await vm.exited;
  const exits = exitsOf(await all(trace));
  // How many at once is KVM's business; their sum is not.
  expect(exits.flatMap(({ values }) => values)).toEqual([...Buffer.from(text)]);
  expect(exits.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(text.length);
  for (const { values, count } of exits) expect(values?.length).toBe(count);
});

test("loads and stores of a device in memory are MMIO exits with its address", async () => {
  const code = [
    ...[0xb8, 0xff, 0xff, 0x8e, 0xd8], //       mov ax, 0xffff; mov ds, ax: reaches beyond the RAM of 1 MiB
    ...[0xc7, 0x06, 0x10, 0x00, 0x34, 0x12], // mov word [0x10], 0x1234
    ...[0xa0, 0x11, 0x00], //                   mov al, [0x11]
    ...exitWith(0),
  ];
  await using vm = await flatMachine(code, {
    devices: [{ name: "lamp", address: 0x10_0000, length: 16, handlers: { read: () => 0x77 } }],
  });
  const trace = vm.trace({ reasons: ["MMIO"] });
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  expect(exitsOf(await all(trace)).map(essence)).toEqual([
    ["MMIO", "write", 0x10_0000, 2, 1, [0x1234], "lamp"],
    ["MMIO", "read", 0x10_0001, 1, 1, [0x77], "lamp"],
  ]);
});

test("a filter lets through what passes all of it, and numbers stay those of all exits", async () => {
  const code = [...HELLO, ...outByte(0x80, 1), ...inByte(0x3fd), ...outByte(0x3f8, 2), ...exitWith(0)];
  const traced = async (filter: TraceFilter) => {
    await using vm = await flatMachine(code);
    const trace = vm.trace(filter);
    await vm.start();
    await vm.exited;
    return exitsOf(await all(trace)).map(({ seq, device }) => `${seq} ${device}`);
  };
  expect(await traced({ devices: ["com1", "post-code"] })).toEqual(["2 post-code", "3 com1", "4 com1"]);
  expect(await traced({ devices: ["com1"], ports: [[0x3f8, 0x3f8]] })).toEqual(["4 com1"]);
  expect(
    await traced({
      ports: [
        [0x80, 0x80],
        [0xe9, 0xf4],
      ],
    }),
  ).toEqual(["1 debug-console", "2 post-code", "5 debug-exit"]);
  expect(await traced({ reasons: ["MMIO"] })).toEqual([]);
  expect(await traced({ vcpus: [0], reasons: ["IO"] })).toHaveLength(5);
});

test("an impossible filter is refused with a sentence that says what is possible", async () => {
  await using vm = await flatMachine(FOR_EVER);
  // @ts-expect-error: a program in JavaScript
  expect(() => vm.trace({ reason: ["IO"] })).toThrow(
    'trace: unknown option "reason" (did you mean "reasons"?)',
  );
  expect(() => vm.trace({ reasons: ["MIO"] })).toThrow(
    'trace.reasons: "MIO" is not known (did you mean "IO"?)',
  );
  expect(() => vm.trace({ devices: ["com9"] })).toThrow(
    'trace.devices: "com9" is not known (did you mean "com1"?)',
  );
  expect(() => vm.trace({ ports: [[2, 1]] })).toThrow("trace.ports: [2,1] is not a range");
  expect(() => vm.trace({ vcpus: [1] })).toThrow("there is no vCPU 1; the last one is 0");
  expect(() => vm.trace({ memory: { everyMs: 0 } })).toThrow("trace.memory");
  await vm.close();
  expect(() => vm.trace()).toThrow(/has to be created or running or paused/);
});

test("tracing may begin while the guest runs, and ends when its reader leaves", async () => {
  await using vm = await flatMachine(FLOOD);
  vm.serial.resume();
  await vm.start();
  for (let round = 0; round < 3; round++) {
    let count = 0;
    for await (const record of vm.trace()) {
      if (record.kind !== "exit") continue;
      expect(essence(record)).toEqual(["IO", "out", 0x3f8, 1, 1, [0x2e], "com1"]);
      if (++count === 1000) break;
    }
    // The guest goes on without being watched.
    const before = vm.stats().totalExits;
    await expect.poll(() => vm.stats().totalExits).toBeGreaterThan(before);
  }
});

test("two traces at once are independent", async () => {
  await using vm = await flatMachine([...HELLO, ...outByte(0x80, 1), ...exitWith(0)]);
  const [one, two] = [vm.trace({ devices: ["post-code"] }), vm.trace({ registers: true })];
  await vm.start();
  await vm.exited;
  const [a, b] = [exitsOf(await all(one)), exitsOf(await all(two))];
  expect(a.map(({ device, regs }) => [device, regs])).toEqual([["post-code", undefined]]);
  expect(b.map(({ device, regs }) => [device, regs?.rax])).toEqual([
    ["debug-console", "0x48"],
    ["post-code", "0x1"],
    ["debug-exit", "0x0"],
  ]);
});

test("with registers, an exit shows the CPU as it was, and the code at RIP", async () => {
  const code = [...HELLO, ...exitWith(5)];
  await using vm = await flatMachine(code);
  const trace = vm.trace({ registers: true });
  await vm.start();
  await vm.exited;
  const [hello, exit] = exitsOf(await all(trace));
  expect(hello.regs).toMatchObject({ rax: "0x48", cs: "0x100", ss: "0x100", cr0: "0x10", efer: "0x0" });
  expect(exit.regs).toMatchObject({ rax: "0x5", rdx: "0xf4" });
  for (const { rip, regs, code: bytes, before } of [hello, exit]) {
    expect(regs?.rip).toBe(rip);
    const at = Number(rip);
    expect(bytes).toHaveLength(32);
    expect(bytes?.startsWith(Buffer.from(code.slice(at)).toString("hex"))).toBe(true);
    expect(before).toHaveLength(30);
    expect(before?.endsWith(Buffer.from(code.slice(0, at)).toString("hex"))).toBe(true);
  }
});

test("a reader that does not come loses exits, and the trace says where and how many", async () => {
  await using vm = await flatMachine(FLOOD);
  vm.serial.resume();
  const trace = vm.trace();
  await vm.start();
  const WAIT = 45_000; // more than a reader may be behind
  await expect
    .poll(() => vm.stats().totalExits, { timeout: patience(50_000), interval: 200 })
    .toBeGreaterThan(WAIT);
  trace.stop();
  const records = await all(trace);
  const exits = exitsOf(records);
  const dropped = records.filter((record) => record.kind === "dropped");
  const end = records.at(-1);
  expect(dropped.length).toBeGreaterThan(0);
  const lost = dropped.reduce((sum, { count }) => sum + count, 0);
  expect(end).toMatchObject({ kind: "end", exits: exits.length, dropped: lost });
  expect(exits.length).toBeLessThan(WAIT);
  // Nothing is missing that is not said: the numbers go on over the gap.
  let seq = 0;
  for (const record of records) {
    if (record.kind === "dropped") seq += record.count;
    if (record.kind === "exit") expect(record.seq).toBe(++seq);
  }
});

test("a program that is busy makes the ring itself overflow, and that is counted as well", async () => {
  await using vm = await flatMachine([
    ...[0xb9, 0x00, 0x80], // mov cx, 0x8000
    ...[0xe6, 0x80, 0xe2, 0xfc], // next: out 0x80, al; loop next
    ...[0xe6, 0xe9], // out 0xe9, al: done
    ...exitWith(0),
  ]);
  const trace = vm.trace();
  await vm.start();
  // Nothing of this thread runs meanwhile, as in a long computation.
  const end = Date.now() + 40_000;
  while ((vm.stats().devices["debug-console"] ?? 0) === 0 && Date.now() < end);
  await vm.exited;
  const records = await all(trace);
  const last = records.at(-1);
  expect(last).toMatchObject({ kind: "end" });
  if (last?.kind !== "end") throw new Error("no end");
  expect(last.dropped).toBeGreaterThan(0);
  expect(last.exits + last.dropped).toBe(vm.stats().totalExits);
}, 90_000);

test("a pause hides nothing: what happened before it can be read during it, and the trace goes on after", async () => {
  await using vm = await flatMachine(FLOOD);
  vm.serial.resume();
  const trace = vm.trace();
  await vm.start();
  await expect.poll(() => vm.stats().totalExits).toBeGreaterThan(100);
  await vm.pause();
  const { totalExits } = vm.stats();
  let seen = 0;
  for (;;) {
    const { value } = await trace.next();
    if (value?.kind === "exit" && ++seen === totalExits) break;
  }
  await vm.resume();
  for (;;) {
    const { value } = await trace.next();
    if (value?.kind !== "exit") continue;
    expect(value.seq).toBe(totalExits + 1);
    break;
  }
});

test("a reset does not end a trace; KVM's counters begin anew with it", async () => {
  // A device of the program's own remembers what the guest cannot.
  let resets = 0;
  await using vm = await flatMachine(
    [...HELLO, ...inByte(0x300), 0x84, 0xc0, 0x75, RESET.length, ...RESET, ...exitWith(0)],
    {
      devices: [{ name: "memory", port: 0x300, length: 1, handlers: { read: () => resets++ } }],
    },
  );
  const trace = vm.trace();
  await vm.start();
  await vm.exited;
  const records = await all(trace);
  expect(exitsOf(records).map(({ seq, device }) => `${seq} ${device}`)).toEqual([
    ...["1 debug-console", "2 memory", "3 i8042"],
    ...["4 debug-console", "5 memory", "6 debug-exit"],
  ]);
  const kernel = records.filter((record) => record.kind === "kernel");
  if (kernel.length === 0) return; // an old kernel
  expect(kernel.map(({ cycle }) => cycle)).toEqual([0, 0, 1, 1]);
  expect(kernel[1].vcpus[0].exits).toBeGreaterThan(kernel[2].vcpus[0].exits);
});

test("memory records name the pages that the guest wrote", async () => {
  const write = [
    ...[0xb8, 0x00, 0x50, 0x8e, 0xd8], // mov ax, 0x5000; mov ds, ax
    ...[0x88, 0x06, 0x00, 0x00], //       mov [0], al
    ...[0x88, 0x06, 0x00, 0x10], //       mov [0x1000], al
  ];
  await using vm = await flatMachine([...write, ...exitWith(0)]);
  const trace = vm.trace({ memory: true });
  await vm.start();
  await vm.exited;
  const memory = (await all(trace)).filter((record) => record.kind === "memory");
  expect(memory.map(({ page, granule }) => [page, granule])).toEqual(memory.map(() => [4096, 2 ** 21]));
  // 0x50000 and 0x51000 are in the first granule.
  const pages = memory.flatMap(({ dirty }) => dirty);
  expect(pages.every(([granule]) => granule === 0)).toBe(true);
  expect(pages.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThanOrEqual(2);
});

test("vm.stats() has KVM's own counters, while the guest runs and after its end", async () => {
  await using vm = await flatMachine(FLOOD);
  vm.serial.resume();
  await vm.start();
  await expect.poll(() => vm.stats().totalExits).toBeGreaterThan(1000);
  const { kernel } = vm.stats();
  if (kernel === undefined) return; // an old kernel
  expect(kernel.vcpus).toHaveLength(1);
  expect(kernel.vcpus[0].exits).toBeGreaterThan(0);
  await vm.stop();
  expect(vm.stats().kernel?.vcpus[0].exits).toBeGreaterThanOrEqual(kernel.vcpus[0].exits);
});

test("the exits of two vCPUs come together, each in its own order", async () => {
  // Nobody wakes the second CPU; it is in the header all the same.
  await using vm = await flatMachine([...HELLO, ...exitWith(0)], { cpus: 2 });
  const trace = vm.trace({ vcpus: [0] });
  await vm.start();
  await vm.exited;
  const records = await all(trace);
  expect(records[0]).toMatchObject({ vcpus: 2 });
  expect(exitsOf(records).map(({ vcpu }) => vcpu)).toEqual([0, 0]);
});
