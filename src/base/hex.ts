/** Numbers and bytes in hexadecimal. */

/** "0x3f8" */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** "003f": without a prefix, at least `digits` long. */
export function hexDigits(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** "0x3f8-0x3ff": the first and the last address; one address if `length` is 1. */
export function hexRange(address: number, length: number): string {
  return length === 1 ? hex(address) : `${hex(address)}-${hex(address + length - 1)}`;
}

/** "f4eb" or, with a space between them, "f4 eb". */
export function hexBytes(bytes: Iterable<number>, separator = ""): string {
  return Array.from(bytes, (byte) => hexDigits(byte, 2)).join(separator);
}
