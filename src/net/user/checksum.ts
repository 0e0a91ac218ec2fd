/** The Internet checksum (RFC 1071). */

/** Adds the 16-bit words of a range to `sum`; an odd last byte is the high half of a word. Not folded. */
export function addWords(bytes: Uint8Array, start: number, end: number, sum: number): number {
  let total = sum;
  let at = start;
  // Two accumulators that fit 32 bits for 64 KiB, so that the loop stays in integers.
  let high = 0;
  let low = 0;
  for (const last = end - 3; at < last; at += 4) {
    high += bytes[at] + bytes[at + 2];
    low += bytes[at + 1] + bytes[at + 3];
  }
  for (const last = end - 1; at < last; at += 2) {
    high += bytes[at];
    low += bytes[at + 1];
  }
  if (at < end) high += bytes[at];
  total += high * 256 + low;
  return total;
}

/** A sum of words in 16 bits, with the carries added. */
export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/** The checksum field for a sum. */
export function checksumOf(sum: number): number {
  return ~fold(sum) & 0xffff;
}
