/** Zeros: to write, to send, and to compare with. */
import { WINDOW } from "./io-memory.ts";

export const ZEROS = Buffer.alloc(WINDOW);

/** @param bytes at most WINDOW of them */
export function isZero(bytes: Uint8Array): boolean {
  return ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
