/** Sizes as people write them: 512K, 256M, 1.5G. Units are binary. */
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
 * @param refuse   makes the error of a sentence, which begins with that text
 * @param bareUnit the unit of a number without one, in bytes (QEMU's -m has MIB)
 * @throws what `refuse` makes, unless it is a whole number of bytes, exact and not negative.
 */
export function parseSize(size: string | number, refuse: (sentence: string) => Error, bareUnit = 1): number {
  const text = String(size);
  const match = /^(\d+(?:\.\d+)?)\s*(\S*)$/.exec(text.trim());
  if (match === null) {
    throw refuse(`"${text}" is not a size; write a number with K, M, G or T, as in 256M`);
  }
  const [, digits, suffix] = match;
  const unit = suffix === "" ? bareUnit : UNITS.get(suffix.toUpperCase());
  if (unit === undefined) {
    throw refuse(`"${text}" has the unknown unit "${suffix}"; use K, M, G or T`);
  }
  const bytes = Number(digits) * unit;
  if (bytes > Number.MAX_SAFE_INTEGER) throw refuse(`"${text}" is larger than 8192T`);
  if (!Number.isInteger(bytes)) throw refuse(`"${text}" is not a whole number of bytes`);
  return bytes;
}
