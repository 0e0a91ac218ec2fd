/** Sizes as people write them: 512K, 256M, 1.5G. Units are binary. */
import { OptionError } from "./errors.ts";

export const KIB = 2 ** 10;
export const MIB = 2 ** 20;
export const GIB = 2 ** 30;
export const TIB = 2 ** 40;

/** Bytes of a page of an x86 guest or host. */
export const PAGE = 4 * KIB;
/** Bytes that disks count in, whatever a disk's own block size is. */
export const SECTOR = 512;

const UNITS: ReadonlyMap<string, number> = new Map([
  ["K", KIB],
  ["M", MIB],
  ["G", GIB],
  ["T", TIB],
]);

/**
 * A size in bytes.
 *
 * @param size     what was typed
 * @param what     the option it was typed for: errors begin with it
 * @param bareUnit bytes that a number without a unit counts in (QEMU's -m counts in MIB)
 * @throws {OptionError} unless it is a whole number of bytes, exact and not negative.
 */
export function parseSize(size: string | number, what: string, bareUnit = 1): number {
  const text = String(size);
  const match = /^(\d+(?:\.\d+)?)\s*(\S*)$/.exec(text.trim());
  if (match === null) {
    throw new OptionError(`${what}: "${text}": not a size; write a number with K, M, G or T, as in 256M`);
  }
  const [, digits, suffix] = match;
  const unit = suffix === "" ? bareUnit : UNITS.get(suffix.toUpperCase());
  if (unit === undefined) {
    throw new OptionError(`${what}: "${text}": unknown unit "${suffix}"; use K, M, G or T`);
  }
  const bytes = Number(digits) * unit;
  if (bytes > Number.MAX_SAFE_INTEGER) throw new OptionError(`${what}: "${text}": larger than 8192T`);
  if (!Number.isInteger(bytes)) throw new OptionError(`${what}: "${text}": not a whole number of bytes`);
  return bytes;
}
