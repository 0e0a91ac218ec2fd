import { expect, test } from "vitest";
import { OptionError } from "../../../src/base/errors.ts";
import { GIB, KIB, MIB, parseSize, TIB } from "../../../src/base/units.ts";

const refuse = (sentence: string) => new OptionError(sentence);

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
  expect(parseSize(text, refuse)).toBe(bytes);
});

test("a bare number counts in the option's own unit, as QEMU's -m does in MiB", () => {
  expect(parseSize("256", refuse, MIB)).toBe(256 * MIB);
  expect(parseSize("256K", refuse, MIB)).toBe(256 * KIB);
});

test.each([
  ["256X", '"256X" has the unknown unit "X"; use K, M, G or T'],
  ["256MB", '"256MB" has the unknown unit "MB"; use K, M, G or T'],
  ["", '"" is not a size; write a number with K, M, G or T, as in 256M'],
  ["M", '"M" is not a size; write a number with K, M, G or T, as in 256M'],
  ["-1M", '"-1M" is not a size; write a number with K, M, G or T, as in 256M'],
  [Number.NaN, '"NaN" is not a size; write a number with K, M, G or T, as in 256M'],
  ["0.3", '"0.3" is not a whole number of bytes'],
  ["8193T", '"8193T" is larger than 8192T'],
  ["9".repeat(400), `"${"9".repeat(400)}" is larger than 8192T`],
])("%j is refused with a sentence that quotes it", (text, message) => {
  expect(() => parseSize(text, refuse)).toThrow(new OptionError(message));
});

test("an option error has a code for programs", () => {
  expect(new OptionError("x")).toMatchObject({ name: "OptionError", code: "EOPTION" });
});
