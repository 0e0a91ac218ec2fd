import { expect, test } from "vitest";
import { mixed, readableOn } from "../page/colour.ts";
import { amount, bytes, duration, hex, moment, percent } from "../page/quantities.ts";

test("durations have three digits and the unit that suits them", () => {
  expect([0, 7, 999, 1500, 12_345, 123_456_789, 5e9, 3.6e12].map(duration)).toEqual([
    "0",
    "7 ns",
    "999 ns",
    "1.5 µs",
    "12.3 µs",
    "123 ms",
    "5 s",
    "3600 s",
  ]);
});

test("moments are as exact as the picture they stand in", () => {
  expect(moment(1_234_567_890, 2e9)).toBe("1.235 s");
  expect(moment(1_234_567_890, 1e5)).toBe("1.2345679 s");
  expect(moment(1000, 1e4)).toBe("1 µs");
});

test("a share is never rounded to nothing or to all", () => {
  expect(percent(1, 1e6)).toBe("< 0.1 %");
  expect(percent(0, 5)).toBe("0.0 %");
  expect(percent(999_400, 1e6)).toBe("99.9 %");
  expect(percent(5, 5)).toBe("100 %");
  expect(percent(0, 0)).toBe("–");
});

test("sizes, numbers and addresses", () => {
  expect([8, 4096, 3.5 * 2 ** 30].map(bytes)).toEqual(["8 B", "4 KiB", "3.5 GiB"]);
  expect([0.128, 45.25, 35_294].map(amount)).toEqual(["0.13", "45.3", "35\u202f294"]);
  expect(hex(0x3f8, 4)).toBe("0x03f8");
});

test("text is readable on light and on dark colours", () => {
  expect(readableOn("#ffe9a8")).toBe("#0b1117");
  expect(readableOn("#1d4f91")).toBe("#ffffff");
  expect(mixed("#000000", "#ffffff", 0.2)).toBe("#333333");
});
