/** Devices of the program's own, and ports that nobody has, as a guest meets them. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { DeviceHandlers, UnclaimedAccess } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import {
  exitWith,
  FOR_EVER,
  inByte,
  inDword,
  inWord,
  outByte,
  outDword,
  outEax,
  outWord,
  runFlat,
} from "../support/flat-machine.ts";

/** Keeps what the guest writes there. */
function recorder() {
  const writes: [offset: number, size: number, value: number][] = [];
  const handlers: DeviceHandlers = { write: (...access) => void writes.push(access) };
  return { writes, values: () => writes.map(([, , value]) => value), handlers };
}

const at = (port: number, handlers: DeviceHandlers, length = 4) => ({
  name: `device at ${port}`,
  port,
  length,
  handlers,
});

test("a device sees the offset, size and value of each access, and its answer reaches the guest", async () => {
  const { writes, handlers } = recorder();
  const reads: [number, number][] = [];
  const echo: DeviceHandlers = {
    read(offset, size) {
      reads.push([offset, size]);
      return 0x8765_4321;
    },
  };
  const code = [
    ...[...outByte(0x300, 0x12), ...outWord(0x301, 0x3456), ...outDword(0x304, 0x89ab_cdef)],
    ...[0x66, 0x31, 0xc0], // xor eax, eax
    ...[...inByte(0x310), ...outEax(0x300)],
    ...[...inWord(0x311), ...outEax(0x300)],
    ...[...inDword(0x314), ...outEax(0x300)],
    ...exitWith(0),
  ];
  const { ending } = await runFlat(code, { devices: [at(0x300, handlers, 8), at(0x310, echo, 8)] });
  expect(ending).toEqual({ reason: "exit", status: 1 });
  expect(reads).toEqual([
    [0, 1],
    [1, 2],
    [4, 4],
  ]);
  expect(writes).toEqual([
    [0, 1, 0x12],
    [1, 2, 0x3456],
    [4, 4, 0x89ab_cdef],
    [0, 4, 0x21],
    [0, 4, 0x4321],
    [0, 4, 0x8765_4321],
  ]);
});

test("the guest waits for a handler that is async, however long it takes", async () => {
  const order: string[] = [];
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const slow: DeviceHandlers = {
    async read() {
      order.push("read");
      await pause(100);
      order.push("answered");
      return 7;
    },
    async write(_offset, _size, value) {
      order.push(`write ${value}`);
      await pause(100);
      order.push("taken");
    },
  };
  const next: DeviceHandlers = { write: (_offset, _size, value) => void order.push(`next ${value}`) };
  const code = [...inByte(0x300), ...[0xee], ...[0xba, 0x10, 0x03, 0xee], ...exitWith(0)];
  await runFlat(code, { devices: [at(0x300, slow), at(0x310, next)] });
  expect(order).toEqual(["read", "answered", "write 7", "taken", "next 7"]);
});

const fellOff = () => new Error("the sensor fell off");
const throws = (): number => {
  throw fellOff();
};

test.each([
  ["throws", throws],
  ["rejects", () => Promise.reject(fellOff())],
])("a handler that %s ends the machine as a crash that names the device", async (_how, read) => {
  const sensor = { name: "thermometer", port: 0x300, length: 1, handlers: { read } };
  const { ending } = await runFlat([...inByte(0x300), ...FOR_EVER], { devices: [sensor] });
  expect(ending.reason).toBe("crash");
  expect(ending.message).toContain("thermometer");
  expect(ending.message).toContain("the sensor fell off");
});

test("a device without read answers all ones, and one without write takes everything", async () => {
  const { values, handlers } = recorder();
  const code = [...outDword(0x310, 5), ...inDword(0x310), ...outEax(0x300), ...exitWith(0)];
  await runFlat(code, { devices: [at(0x300, handlers), at(0x310, {})] });
  expect(values()).toEqual([0xffff_ffff]);
});

test("ports that nobody has read as all ones, swallow writes, and can be watched", async () => {
  const { values, handlers } = recorder();
  const seen: UnclaimedAccess[] = [];
  const code = [
    ...[0x66, 0x31, 0xc0], // xor eax, eax
    ...[...inByte(0x555), ...outEax(0x300)],
    ...[...inDword(0x556), ...outEax(0x300)],
    ...[...outWord(0x557, 0x1234), ...exitWith(0)],
  ];
  const options = {
    devices: [at(0x300, handlers)],
    onUnclaimed: (each: UnclaimedAccess) => void seen.push(each),
  };
  const { stats } = await runFlat(code, options);
  expect(values()).toEqual([0xff, 0xffff_ffff]);
  expect(seen).toEqual([
    { space: "port", direction: "read", address: 0x555, size: 1, value: 0xff },
    { space: "port", direction: "read", address: 0x556, size: 4, value: 0xffff_ffff },
    { space: "port", direction: "write", address: 0x557, size: 2, value: 0x1234 },
  ]);
  expect(stats.devices.unclaimed).toBe(3);
});

test("rep outs sends element after element to the same port, each in its size", async () => {
  const { writes, handlers } = recorder();
  const repOuts = (prefix: number[]) => [0xbe, 0x00, 0x01, 0xb9, 0x03, 0x00, ...prefix]; // si = 0x100, cx = 3
  const code = [
    ...[0xfc, 0xba, 0x00, 0x03], // cld; mov dx, 0x300
    ...repOuts([0xf3, 0x6e]), // rep outsb
    ...repOuts([0xf3, 0x6f]), // rep outsw
    ...repOuts([0xf3, 0x66, 0x6f]), // rep outsd
    ...exitWith(0),
  ];
  const data = [0x01, 0x12, 0x23, 0x34, 0x45, 0x56, 0x67, 0x78, 0x89, 0x9a, 0xab, 0xbc];
  const padded = [...code, ...new Array(0x100 - code.length).fill(0x90), ...data];
  const { ending } = await runFlat(padded, { devices: [at(0x300, handlers)] });
  expect(ending.reason).toBe("exit");
  expect(writes).toEqual([
    ...[0x01, 0x12, 0x23].map((value) => [0, 1, value]),
    ...[0x1201, 0x3423, 0x5645].map((value) => [0, 2, value]),
    ...[0x3423_1201, 0x7867_5645, 0xbcab_9a89].map((value) => [0, 4, value]),
  ]);
});

test("rep ins takes element after element from the same port", async () => {
  const { values, handlers } = recorder();
  let next = 0x1100;
  const counter: DeviceHandlers = { read: () => next++ };
  const code = [
    ...[0xfc, 0xba, 0x10, 0x03], // cld; mov dx, 0x310
    ...[0xbf, 0x00, 0x02, 0xb9, 0x03, 0x00, 0xf3, 0x6d], // di = 0x200, cx = 3; rep insw
    ...[0xb9, 0x02, 0x00, 0xf3, 0x6c], // cx = 2; rep insb
    ...[0xba, 0x00, 0x03, 0xbe, 0x00, 0x02, 0xb9, 0x02, 0x00, 0xf3, 0x66, 0x6f], // rep outsd of those 8 bytes
    ...exitWith(0),
  ];
  await runFlat(code, { devices: [at(0x300, handlers), at(0x310, counter)] });
  expect(values()).toEqual([0x1101_1100, 0x0403_1102]);
});

test("a device in memory is read and written in 1, 2 and 4 bytes, and 8 are two times 4, low half first", async () => {
  const reads: [number, number][] = [];
  const { writes, handlers } = recorder();
  const board: DeviceHandlers = {
    ...handlers,
    read(offset, size) {
      reads.push([offset, size]);
      return 0x1020_3040 + offset;
    },
  };
  const code = [
    ...[0xb8, 0xff, 0xff, 0x8e, 0xd8], // mov ax, 0xffff; mov ds, ax: 0xffff:0x10 is 1 MiB
    ...[0xa0, 0x11, 0x00, 0xa2, 0x12, 0x00], // mov al, [0x11]; mov [0x12], al
    ...[0xa1, 0x12, 0x00, 0xa3, 0x14, 0x00], // mov ax, [0x12]; mov [0x14], ax
    ...[0x66, 0xa1, 0x14, 0x00, 0x66, 0xa3, 0x18, 0x00], // mov eax, [0x14]; mov [0x18], eax
    ...[0x0f, 0x6f, 0x06, 0x18, 0x00, 0x0f, 0x7f, 0x06, 0x20, 0x00], // movq mm0, [0x18]; movq [0x20], mm0
    ...exitWith(0),
  ];
  const device = { name: "board", address: 0x10_0000, length: 0x20, handlers: board };
  const { ending } = await runFlat(code, { devices: [device] });
  expect(ending.reason).toBe("exit");
  expect(reads).toEqual([
    [1, 1],
    [2, 2],
    [4, 4],
    [8, 4],
    [12, 4],
  ]);
  expect(writes).toEqual([
    [2, 1, 0x41],
    [4, 2, 0x3042],
    [8, 4, 0x1020_3044],
    [16, 4, 0x1020_3048],
    [20, 4, 0x1020_304c],
  ]);
});

test("several devices answer for themselves alone, also beside the machine's own", async () => {
  const { values, handlers } = recorder();
  const answering = (value: number): DeviceHandlers => ({ read: () => value });
  const copy = (port: number) => [...inByte(port), 0xba, 0x00, 0x03, 0xee];
  const code = [...copy(0x310), ...copy(0x311), ...copy(0x3fa), ...exitWith(0)];
  await runFlat(code, {
    devices: [at(0x300, handlers), at(0x310, answering(0x11), 1), at(0x311, answering(0x22), 1)],
  });
  expect(values()).toEqual([0x11, 0x22, 0x01]); // IIR of COM1: no interrupt pending
});

test("the debug-exit status is the written value, doubled, plus one", async () => {
  expect((await runFlat(exitWith(0))).ending).toEqual({ reason: "exit", status: 1 });
  expect((await runFlat(exitWith(0x7f))).ending).toEqual({ reason: "exit", status: 0xff });
});

test("the own-device example prints what its guest read", async () => {
  const example = fileURLToPath(new URL("../../build/tools/examples/04-own-device.js", import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [example], {
    timeout: patience(30_000),
  });
  expect(stdout).toBe("the guest says it is 21 °C\n");
  expect(stderr).toBe("");
});
