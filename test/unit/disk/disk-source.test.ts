/** What a program's own disk may say of itself, and what its errors become. */
import { expect, test } from "vitest";
import { type DiskSource, errnoOf, sourceFacts } from "../../../src/disk/disk-source.ts";
import { SystemError } from "../../../src/sys/errors.ts";

const read = () => {};
const write = () => {};

test("a disk without a write method is read-only; one with can say that it is", () => {
  expect(sourceFacts({ size: 1024, read })).toEqual({ size: 1024, readOnly: true, blockSize: 512 });
  expect(sourceFacts({ size: 1024, read, write }).readOnly).toBe(false);
  expect(sourceFacts({ size: 1024, read, write, readOnly: true }).readOnly).toBe(true);
});

test("a disk is read-only because it says so, and never written without a method for it", () => {
  expect(() => sourceFacts({ size: 512, read, readOnly: false })).toThrow("has no write method");
});

test.each<[string, Partial<DiskSource>]>([
  ["half a sector", { size: 256 }],
  ["not a number", { size: Number.NaN }],
  ["negative", { size: -512 }],
  ["endless", { size: Number.POSITIVE_INFINITY }],
  ["beyond exact numbers", { size: 2 ** 60 }],
  ["blocks of 1000 bytes", { size: 512, blockSize: 1000 }],
  ["blocks of 256 bytes", { size: 512, blockSize: 256 }],
  ["blocks of 128 KiB", { size: 512, blockSize: 131072 }],
])("a disk cannot be %s", (_what, facts) => {
  expect(() => sourceFacts({ size: 512, read, ...facts })).toThrow(RangeError);
});

test.each<[string, unknown, number]>([
  ["Node's error, by its errno", Object.assign(new Error(), { errno: -28, code: "ENOSPC" }), -28],
  ["a positive errno", Object.assign(new Error(), { errno: 28 }), -28],
  ["a code alone", Object.assign(new Error(), { code: "ENOSPC" }), -28],
  ["vmexit's own", new SystemError(-30, "pwrite", "writing"), -30],
  ["an error without either", new Error("the moon is full"), -5],
  ["a code that is none", Object.assign(new Error(), { code: "ERR_INVALID_ARG_TYPE" }), -5],
  ["an errno that is none", Object.assign(new Error(), { errno: 1e9 }), -5],
  ["no error at all", "ENOSPC", -5],
])("what is thrown becomes -errno: %s", (_what, thrown, errno) => {
  expect(errnoOf(thrown)).toBe(errno);
});
