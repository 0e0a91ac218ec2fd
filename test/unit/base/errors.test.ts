import { expect, test } from "vitest";
import { nearest } from "../../../src/base/errors.ts";

const KEYS = ["file", "format", "if", "readonly", "serial"];

test.each([
  ["fromat", "format"],
  ["formt", "format"],
  ["Format", "format"],
  ["readnly", "readonly"],
  ["fi", "if"],
  ["serail", "serial"],
])("%s was meant to be %s", (typed, meant) => {
  expect(nearest(typed, KEYS)).toBe(meant);
});

test.each(["", "zzz", "x", "formatting-of-disks", "f".repeat(1e6)])(
  "%.20s was meant to be nothing known",
  (typed) => {
    expect(nearest(typed, KEYS)).toBeUndefined();
  },
);
