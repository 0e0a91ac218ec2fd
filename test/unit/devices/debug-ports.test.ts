import { expect, test } from "vitest";
import { DebugConsole } from "../../../src/devices/debug-console.ts";
import { DebugExit } from "../../../src/devices/debug-exit.ts";
import { PostCode, PostCodeState } from "../../../src/devices/post-code.ts";

test("the debug console prints each byte and answers its own number", () => {
  const printed: number[] = [];
  const chip = new DebugConsole({ put: (byte) => void printed.push(byte) });
  for (const byte of Buffer.from("hi")) chip.write(0, 1, byte);
  expect(printed).toEqual([0x68, 0x69]);
  expect(chip.read(0, 1)).toBe(0xe9);
});

test.each([
  [0, 1],
  [1, 3],
  [0x10, 33],
  [0x7f, 255],
  [0x80, 1],
  [0xffff_ffff, 255],
])("writing %i to the debug exit ends with the status that QEMU would have: %i", (value, status) => {
  const ended: number[] = [];
  const chip = new DebugExit({ off() {}, reset() {}, exit: (status) => void ended.push(status) });
  chip.write(0, 4, value);
  expect(ended).toEqual([status]);
  expect(chip.read(0, 4)).toBe(0);
});

test("the last POST code can be read, by the guest and by us", () => {
  const chip = new PostCode(PostCodeState.view(new SharedArrayBuffer(PostCodeState.size), 0));
  chip.write(0, 1, 0x12);
  chip.write(0, 1, 0x34);
  expect(chip.read(0, 1)).toBe(0x34);
  chip.reset();
  expect(chip.read(0, 1)).toBe(0);
});
