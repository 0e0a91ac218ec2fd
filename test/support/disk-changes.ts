/**
 * The possible contents of a disk after blk-kernel.c changed it and was interrupted. A
 * change can be computed from its number, so no record of the changes is needed.
 */

const BLOCK = 4096;
const WORDS = BLOCK / 4;

/** Changes that are in flight at the same time, and those from one flush to the next. */
export const BATCH = 16;
export const PER_FLUSH = 4 * BATCH;

type Change = { readonly block: number; readonly kind: "zero" | "discard" | "write" };

function change(number: number, blocks: number): Change {
  let bits = number;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  bits = (bits ^ (bits >>> 16)) >>> 0;
  const block = (bits % Math.floor(blocks / BATCH)) * BATCH + (number % BATCH);
  const kinds = ["zero", "discard"] as const;
  return { block, kind: kinds[bits >>> 29] ?? "write" };
}

/** The changes `first` to `flushed` were made; those from there to `end` may have been made or not. */
export interface Interrupted {
  readonly first: number;
  readonly flushed: number;
  readonly end: number;
}

/** The errors of a disk after that, a sentence for each block. */
export function wrongBlocks(
  before: Uint8Array,
  after: Uint8Array,
  { first, flushed, end }: Interrupted,
): string[] {
  const old = words(before);
  const now = words(after);
  const blocks = after.length / BLOCK;
  const may = Array.from({ length: blocks }, (_, block) => new Set([old[block * WORDS]]));
  for (let number = first; number < end; number++) {
    const { block, kind } = change(number, blocks);
    // The image decides whether a discard has an effect.
    if (number < flushed && kind !== "discard") may[block].clear();
    may[block].add(kind === "write" ? number : 0);
  }
  return may.flatMap((values, block) => {
    const own = now.subarray(block * WORDS, (block + 1) * WORDS);
    const whole = own.every((word) => word === own[0]);
    if (whole && values.has(own[0])) return [];
    return [`block ${block} holds ${whole ? own[0] : "a mixture"}, not one of ${[...values]}`];
  });
}

function words(disk: Uint8Array): Uint32Array {
  return new Uint32Array(disk.buffer, disk.byteOffset, disk.length / 4);
}
