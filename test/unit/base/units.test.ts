import { expect, test } from "vitest";
import { OptionError } from "../../../src/base/errors.ts";
import { GIB, KIB, MIB, parseSize, TIB } from "../../../src/base/units.ts";

test.each([
  ["512K", 512 * KIB],
  ["256M", 256 * MIB],
  ["2G", 2 * GIB],
  ["1T", TIB],
  ["256m", 256 * MIB],
  ["1.5G", 1.5 * GIB],
  [" 64 M ", 64 * MIB],
  ["4096", 4096],
  [4096, 4096],
  ["0", 0],
])("%j is %i bytes", (text, bytes) => {
  expect(parseSize(text, "memory")).toBe(bytes);
});

test("a bare number counts in the option's own unit, as QEMU's -m does in MiB", () => {
  expect(parseSize("256", "-m", MIB)).toBe(256 * MIB);
  expect(parseSize("256K", "-m", MIB)).toBe(256 * KIB);
});

test.each([
  ["256X", 'memory: "256X": unknown unit "X"; use K, M, G or T'],
  ["256MB", 'memory: "256MB": unknown unit "MB"; use K, M, G or T'],
  ["", 'memory: "": not a size; write a number with K, M, G or T, as in 256M'],
  ["M", 'memory: "M": not a size; write a number with K, M, G or T, as in 256M'],
  ["-1M", 'memory: "-1M": not a size; write a number with K, M, G or T, as in 256M'],
  [Number.NaN, 'memory: "NaN": not a size; write a number with K, M, G or T, as in 256M'],
  ["0.3", 'memory: "0.3": not a whole number of bytes'],
  ["8193T", 'memory: "8193T": larger than 8192T'],
  ["9".repeat(400), `memory: "${"9".repeat(400)}": larger than 8192T`],
])("%j is refused with a sentence that quotes it", (text, message) => {
  expect(() => parseSize(text, "memory")).toThrow(new OptionError(message));
});

test("an option error has a code for programs", () => {
  expect(new OptionError("x")).toMatchObject({ name: "OptionError", code: "EOPTION" });
});
