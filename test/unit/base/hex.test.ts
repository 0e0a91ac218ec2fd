import { expect, test } from "vitest";
import { hex, hexBytes, hexDigits, hexRange } from "../../../src/base/hex.ts";

test("numbers of any size have the prefix", () => {
  expect([hex(0), hex(0x3f8), hex(2 ** 40), hex(2n ** 64n - 1n)]).toEqual([
    "0x0",
    "0x3f8",
    "0x10000000000",
    "0xffffffffffffffff",
  ]);
});

test("digits are filled up, and never cut", () => {
  expect([hexDigits(0x3f, 4), hexDigits(0x12345, 4)]).toEqual(["003f", "12345"]);
});

test("a range names its first and last address, a range of one address that one", () => {
  expect([hexRange(0x3f8, 8), hexRange(0x80, 1)]).toEqual(["0x3f8-0x3ff", "0x80"]);
});

test("bytes have two digits each", () => {
  expect([hexBytes([0xf4, 0xb]), hexBytes([0xf4, 0xb], " "), hexBytes([])]).toEqual(["f40b", "f4 0b", ""]);
});
