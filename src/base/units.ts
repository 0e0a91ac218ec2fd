/** Sizes as people write them: 512K, 256M, 1.5G. Units are binary. */
import { OptionError } from "./errors.ts";

export const KIB = 2 ** 10;
export const MIB = 2 ** 20;
export const GIB = 2 ** 30;
export const TIB = 2 ** 40;

/** Bytes of a page of an x86 guest or host. */
export const PAGE = 4 * KIB;
/** The unit of disk offsets in bytes, whatever the block size of the disk is. */
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
 * @param size     the user's text
 * @param what     the option that the text belongs to: errors begin with it
 * @param bareUnit the unit of a number without one, in bytes (QEMU's -m has MIB)
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
