import { expect, test } from "vitest";
import { Flash, FlashState } from "../../../src/devices/flash.ts";
import { random } from "../../support/random.ts";

const BLOCK = 4096;
const BUFFER = 2048;
const READY = 0x80;

function flash({ readOnly = false, blocks = 4, state = new SharedArrayBuffer(FlashState.size) } = {}) {
  const bytes = new Uint8Array(blocks * BLOCK).map((_, at) => at);
  let changes = 0;
  const make = () =>
    new Flash(FlashState.view(state, 0), { bytes, readOnly, modeChanged: { settle: () => changes++ } });
  const chip = make();
  chip.reset();
  const write = (at: number, value: number, size: 1 | 2 | 4 = 1) => {
    const after = chip.write(at, size, value);
    if (after !== undefined) after.settle();
  };
  const read = (at: number) => chip.read(at, 1);
  const program = (at: number, byte: number) => {
    write(at, 0x10);
    write(at, byte);
  };
  return { chip, make, bytes, write, read, program, changes: () => changes, state };
}

test("it reads its bytes until a command comes, and again after the command to do so", () => {
  const { chip, write, read, changes } = flash();
  expect([read(5), chip.read(4, 4)]).toEqual([5, 0x07060504]);
  expect(chip.readsArray).toBe(true);
  write(0, 0x70);
  expect([read(5), chip.readsArray, changes()]).toEqual([0, false, 1]);
  write(0, 0x90);
  expect([read(0), read(1), changes()]).toEqual([0x89, 0x18, 1]);
  write(0, 0xff);
  expect([read(5), chip.readsArray, changes()]).toEqual([5, true, 2]);
});

test("OVMF takes it for flash: cleared status reads 0, and is followed by read mode", () => {
  const { write, read } = flash();
  write(0x21, 0x50);
  expect(read(0x21)).toBe(0x21); // RAM would have 0x50
  write(0x21, 0x70);
  expect(read(0x21)).toBe(0); // ROM would have 0x21, RAM 0x70
  write(0x21, 0xff);
});

test("programming makes zeros of ones, and only erasing a block makes ones again", () => {
  const { bytes, write, read, program } = flash();
  write(BLOCK + 17, 0x20);
  write(BLOCK + 17, 0xd0);
  expect(read(0)).toBe(READY);
  expect([bytes[BLOCK - 1], bytes[2 * BLOCK]]).toEqual([0xff, 0]);
  expect(bytes.subarray(BLOCK, 2 * BLOCK).every((byte) => byte === 0xff)).toBe(true);
  program(BLOCK, 0xf0);
  program(BLOCK, 0x3c);
  expect(bytes[BLOCK]).toBe(0x30);
  write(BLOCK + 2, 0x40);
  write(BLOCK + 2, 0x1234, 2);
  expect([bytes[BLOCK + 2], bytes[BLOCK + 3]]).toEqual([0x34, 0x12]);
});

test("an erase that is not confirmed erases nothing", () => {
  const { bytes, chip, write } = flash();
  write(BLOCK + 1, 0x20);
  write(BLOCK + 1, 0xff);
  expect([bytes[BLOCK + 1], chip.readsArray]).toEqual([1, true]);
});

test("a buffer is programmed when it is confirmed, and else not", () => {
  const { bytes, write, read, chip } = flash();
  bytes.fill(0xff);
  const fill = () => {
    write(BUFFER, 0xe8);
    expect(read(0) & READY).toBe(READY);
    write(BUFFER, 5);
    for (let n = 0; n < 6; n++) write(BUFFER + 3 + n, 0x40 + n);
  };
  fill();
  write(BUFFER, 0xff);
  expect([bytes[BUFFER + 3], chip.readsArray]).toEqual([0xff, true]);
  fill();
  write(BUFFER, 0xd0);
  expect([...bytes.subarray(BUFFER + 2, BUFFER + 10)]).toEqual([
    0xff, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0xff,
  ]);
  expect(read(0) & 0x10).toBe(0);
  write(0, 0xe8);
  write(0, 0);
  write(3 * BUFFER, 0x55); // outside of the buffer
  write(0, 0xd0);
  expect([read(0) & 0x10, bytes[3 * BUFFER]]).toEqual([0x10, 0xff]);
});

test("a chip that is read-only reports errors, and keeps its bytes", () => {
  const { bytes, write, read, program } = flash({ readOnly: true });
  const before = bytes.slice();
  program(9, 0);
  expect(read(0)).toBe(READY | 0x12);
  write(0, 0x50);
  write(0, 0x20);
  write(0, 0xd0);
  expect(read(0)).toBe(READY | 0x22);
  expect(bytes).toEqual(before);
});

test("the CFI query says QRY, Intel's command set, the size and the blocks", () => {
  const { write, read } = flash({ blocks: 512 });
  write(0x55, 0x98);
  expect([0x10, 0x11, 0x12].map((at) => String.fromCharCode(read(at))).join("")).toBe("QRY");
  expect([0x13, 0x27, 0x2a, 0x2c, 0x2d, 0x2e, 0x2f, 0x30].map(read)).toEqual([
    1, 21, 11, 1, 0xff, 1, 0x10, 0,
  ]);
  expect([0x31, 0x32, 0x33].map((at) => String.fromCharCode(read(at))).join("")).toBe("PRI");
});

test("two objects over the same registers are one chip, and a reset ends any command", () => {
  const { chip, make, bytes } = flash();
  const other = make();
  chip.write(7, 1, 0x10);
  other.write(7, 1, 0x00);
  expect([bytes[7], chip.read(0, 1)]).toEqual([0, READY]);
  other.reset();
  expect([chip.readsArray, chip.read(9, 1)]).toEqual([true, 9]);
});

test("no write, and no registers from a snapshot, make it leave its bytes or its width", () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const next = random(seed);
    const { chip, bytes, state } = flash();
    new Uint8Array(state).forEach((_, at, all) => {
      all[at] = next() * 256;
    });
    for (let n = 0; n < 20_000; n++) {
      const size = ([1, 2, 4] as const)[Math.floor(next() * 3)];
      const at = Math.floor(next() * (bytes.length - 4));
      const commands = [0x10, 0x20, 0x50, 0x60, 0x70, 0x90, 0x98, 0xe8, 0xd0, 0xff, 0];
      if (next() < 0.5) chip.write(at, size, commands[Math.floor(next() * commands.length)]);
      else chip.write(at, size, Math.floor(next() * 2 ** (8 * size)));
      const value = chip.read(at, size);
      if (!(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size)))
        expect.unreachable(`read ${value}`);
    }
    expect(bytes.length).toBe(4 * BLOCK);
  }
});
