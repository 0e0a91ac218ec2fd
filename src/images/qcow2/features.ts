/**
 * Feature bits of version 3, their names, and what an unknown one means: an
 * incompatible feature is refused by the name that the image itself gives it.
 *
 * Source: QEMU docs/interop/qcow2.txt, Header and Feature name table.
 */

// Incompatible features.
export const INCOMPAT_DIRTY = 1n << 0n;
export const INCOMPAT_CORRUPT = 1n << 1n;
export const INCOMPAT_DATA_FILE = 1n << 2n;
export const INCOMPAT_COMPRESSION = 1n << 3n;
export const INCOMPAT_EXTENDED_L2 = 1n << 4n;
const INCOMPAT_KNOWN =
  INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_DATA_FILE | INCOMPAT_COMPRESSION | INCOMPAT_EXTENDED_L2;

export const COMPAT_LAZY_REFCOUNTS = 1n << 0n;

// Auto-clear features.
export const AUTOCLEAR_BITMAPS = 1n << 0n;
export const AUTOCLEAR_DATA_FILE_RAW = 1n << 1n;

/** Which bitmap a name belongs to: byte 0 of a name table entry. */
const INCOMPATIBLE = 0;
const COMPATIBLE = 1;
const AUTOCLEAR = 2;

const NAMES = [
  [INCOMPATIBLE, 0, "dirty bit"],
  [INCOMPATIBLE, 1, "corrupt bit"],
  [INCOMPATIBLE, 2, "external data file"],
  [INCOMPATIBLE, 3, "compression type"],
  [INCOMPATIBLE, 4, "extended L2 entries"],
  [COMPATIBLE, 0, "lazy refcounts"],
  [AUTOCLEAR, 0, "bitmaps"],
  [AUTOCLEAR, 1, "raw external data"],
] as const;

const ENTRY_BYTES = 48;
const NAME_AT = 2;

/** The table that new images get, so that older programs can say what they do not know. */
export function encodeFeatureNames(): Uint8Array {
  const table = new Uint8Array(NAMES.length * ENTRY_BYTES);
  NAMES.forEach(([type, bit, name], i) => {
    table.set([type, bit], i * ENTRY_BYTES);
    new TextEncoder().encodeInto(name, table.subarray(i * ENTRY_BYTES + NAME_AT, (i + 1) * ENTRY_BYTES));
  });
  return table;
}

/**
 * What of `incompatible` is not known here, in the image's own words.
 *
 * @param table the feature name table of the image; may be empty
 */
export function unknownFeatures(incompatible: bigint, table: Uint8Array): string[] {
  const unknown = incompatible & ~INCOMPAT_KNOWN;
  const found: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if ((unknown & (1n << BigInt(bit))) !== 0n) {
      found.push(nameIn(table, bit) ?? `incompatible feature bit ${bit}`);
    }
  }
  return found;
}

function nameIn(table: Uint8Array, bit: number): string | undefined {
  for (let at = 0; at + ENTRY_BYTES <= table.length; at += ENTRY_BYTES) {
    if (table[at] !== INCOMPATIBLE || table[at + 1] !== bit) continue;
    const name = table.subarray(at + NAME_AT, at + ENTRY_BYTES);
    const end = name.indexOf(0);
    return JSON.stringify(new TextDecoder().decode(end < 0 ? name : name.subarray(0, end)));
  }
  return undefined;
}
