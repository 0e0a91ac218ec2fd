/**
 * Numbers and bytes as the remote protocol writes them: hexadecimal, of
 * registers and memory the bytes in the target's order, little end first.
 */
import { hexBytes, hexDigits } from "../base/hex.ts";

/** A non-negative number; undefined for any other text, or for more than 64 bits. */
export function parseHex(text: string): bigint | undefined {
  return /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}

/** A number that is exact as one; undefined for any other text. */
export function parseNumber(text: string): number | undefined {
  return /^[0-9a-f]{1,13}$/i.test(text) ? Number.parseInt(text, 16) : undefined;
}

/** Undefined unless it is an even number of digits. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

/** Text, whose characters are taken for bytes of UTF-8. */
export function textToHex(text: string): string {
  return hexBytes(new TextEncoder().encode(text));
}

/** The low `bytes` bytes of a value, little end first. */
export function valueToHex(value: bigint, bytes: number): string {
  return reversed(hexDigits(BigInt.asUintN(8 * bytes, value), 2 * bytes));
}

/** The value of digits that are little end first. */
export function hexToValue(text: string): bigint | undefined {
  if (text.length === 0 || text.length % 2 !== 0 || !/^[0-9a-f]+$/i.test(text)) return undefined;
  return BigInt(`0x${reversed(text)}`);
}

function reversed(digits: string): string {
  return (digits.match(/../g) ?? []).reverse().join("");
}
