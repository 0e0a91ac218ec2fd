/** A frame of the guest, where its card found it: in pieces of guest RAM. */
import type { Pieces } from "../base/pieces.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

/** Copies a frame to `into` from `start` on, which has room for it. @returns where it ends there */
export function copyFrame(
  memory: GuestMemory,
  { pairs, first, count }: Pieces,
  into: Uint8Array,
  start: number,
): number {
  let at = start;
  for (let n = first; n < first + count; n++) {
    const part = pairs[2 * n + 1];
    into.set(memory.window(pairs[2 * n], part), at);
    at += part;
  }
  return at;
}
