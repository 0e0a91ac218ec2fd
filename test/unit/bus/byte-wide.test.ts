import { expect, test } from "vitest";
import { ByteWide } from "../../../src/bus/byte-wide.ts";

function chip() {
  const log: string[] = [];
  const device = {
    read: (offset: number, size: number) => {
      log.push(`read ${offset} ${size}`);
      return 0xa0 + offset;
    },
    write: (offset: number, size: number, value: number) => {
      log.push(`write ${offset} ${size} 0x${value.toString(16)}`);
      return offset < 2 ? undefined : { settle: () => void log.push(`settle ${offset}`) };
    },
    reset: () => void log.push("reset"),
  };
  return { log, wide: new ByteWide(device) };
}

test("a wide read is byte reads at consecutive offsets, low byte first, and never negative", () => {
  const { log, wide } = chip();
  expect(wide.read(1, 4)).toBe(0xa4a3a2a1);
  expect(wide.read(0, 2)).toBe(0xa1a0);
  expect(log).toEqual(["read 1 1", "read 2 1", "read 3 1", "read 4 1", "read 0 1", "read 1 1"]);
});

test("a wide write is byte writes, low byte first", () => {
  const { log, wide } = chip();
  wide.write(0, 2, 0xff01);
  expect(log).toEqual(["write 0 1 0x1", "write 1 1 0xff"]);
});

test("what the byte writes leave to do is kept for later, in order", () => {
  const { log, wide } = chip();
  const after = wide.write(0, 4, 0);
  expect(log.filter((line) => line.startsWith("settle"))).toEqual([]);
  after?.settle();
  expect(log.slice(4)).toEqual(["settle 2", "settle 3"]);
});
