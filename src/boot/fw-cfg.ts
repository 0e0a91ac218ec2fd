/**
 * The contents of QEMU's firmware configuration device (fw_cfg), packed into one
 * memory: an index, then the data. Every thread of a machine finds items in it.
 *
 * Source: QEMU docs/specs/fw_cfg.rst; keys are named as there and in SeaBIOS's
 * src/fw/paravirt.c.
 */

export const FW_CFG_SIGNATURE = 0x00;
export const FW_CFG_ID = 0x01;
export const FW_CFG_UUID = 0x02;
export const FW_CFG_RAM_SIZE = 0x03;
export const FW_CFG_NOGRAPHIC = 0x04;
export const FW_CFG_NB_CPUS = 0x05;
export const FW_CFG_BOOT_MENU = 0x0e;
export const FW_CFG_MAX_CPUS = 0x0f;
const FW_CFG_FILE_DIR = 0x19;
const FW_CFG_FILE_FIRST = 0x20;
export const FW_CFG_IRQ0_OVERRIDE = 0x8002;

/** Of a file name, with a zero at its end. */
export const NAME_BYTES = 56;
const DIRECTORY_ENTRY = 64;

/** Words of the index: how many items; then key, offset and length of each. */
const INDEX_ENTRY = 3;

export interface FwCfgItems {
  /** By key. */
  readonly items: ReadonlyMap<number, Uint8Array>;
  /** By name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** @throws {RangeError} for a name that is too long */
export function packFwCfg({ items, files }: FwCfgItems): Uint8Array {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  const directory = new Uint8Array(4 + DIRECTORY_ENTRY * sorted.length);
  const data = new DataView(directory.buffer);
  data.setUint32(0, sorted.length); // big-endian, as all of the directory
  const all = new Map(items);
  sorted.forEach(([name, bytes], n) => {
    if (name.length >= NAME_BYTES)
      throw new RangeError(`fw_cfg file "${name}": the name has 56 characters or more`);
    const at = 4 + DIRECTORY_ENTRY * n;
    data.setUint32(at, bytes.length);
    data.setUint16(at + 4, FW_CFG_FILE_FIRST + n);
    directory.set(new TextEncoder().encode(name), at + 8);
    all.set(FW_CFG_FILE_FIRST + n, bytes);
  });
  all.set(FW_CFG_FILE_DIR, directory);
  return pack(all);
}

function pack(items: ReadonlyMap<number, Uint8Array>): Uint8Array {
  const index = new Uint32Array(1 + INDEX_ENTRY * items.size);
  index[0] = items.size;
  let end = index.byteLength;
  [...items].forEach(([key, bytes], n) => {
    index.set([key, end, bytes.length], 1 + INDEX_ENTRY * n);
    end += bytes.length;
  });
  const packed = new Uint8Array(end);
  packed.set(new Uint8Array(index.buffer));
  for (let n = 0; n < items.size; n++) {
    const [key, offset] = index.subarray(1 + INDEX_ENTRY * n);
    packed.set(items.get(key) ?? [], offset);
  }
  return packed;
}

/** Finds an item in packed contents. Any bytes may be given. */
export function findFwCfgItem(packed: Uint8Array, key: number): Uint8Array | undefined {
  const index = new Uint32Array(packed.buffer, packed.byteOffset, packed.length >> 2);
  for (let n = 0; n < index[0] && INDEX_ENTRY * (n + 1) < index.length; n++) {
    const at = 1 + INDEX_ENTRY * n;
    if (index[at] === key) return packed.subarray(index[at + 1], index[at + 1] + index[at + 2]);
  }
  return undefined;
}

/** Finds a file in packed contents, by its name. Any bytes may be given. */
export function findFwCfgFile(packed: Uint8Array, name: string): Uint8Array | undefined {
  const directory = findFwCfgItem(packed, FW_CFG_FILE_DIR) ?? new Uint8Array();
  const data = new DataView(directory.buffer, directory.byteOffset, directory.length);
  for (let at = 4; at + DIRECTORY_ENTRY <= directory.length; at += DIRECTORY_ENTRY) {
    const found = new TextDecoder()
      .decode(directory.subarray(at + 8, at + DIRECTORY_ENTRY))
      .replace(/\0.*/s, "");
    if (found === name) return findFwCfgItem(packed, data.getUint16(at + 4));
  }
  return undefined;
}
