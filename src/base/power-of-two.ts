/**
 * Whether `value`, a whole number up to 2^32 - 1, is 1, 2, 4, 8 …
 *
 * Also used to report failure number `value` only if it is one of these: a guest
 * that causes failures on purpose cannot flood the log.
 */
export function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
