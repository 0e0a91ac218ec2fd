/**
 * Goes through every entry of an L2 table as it lies in the file: for checks and
 * snapshots, which look at tables that are not the active ones, too.
 */
import type { HostFile } from "../../sys/file.ts";
import { ENTRY_COMPRESSED } from "./cluster-map.ts";
import type { Geometry } from "./geometry.ts";
import { COPIED, OFFSET_HIGH, OFFSET_LOW } from "./pointer-table.ts";

/** An entry that something is allocated for. One object is reused for all. */
export class L2Entry {
  index = 0;
  /** The words of the entry. */
  high = 0;
  low = 0;
  isCompressed = false;
  /** First byte of the data in the file. */
  offset = 0;
  /** Bytes: a cluster, or whole sectors of compressed data. */
  length = 0;

  get isCopied(): boolean {
    return (this.high & COPIED) !== 0;
  }

  /** "8000000000050000", as QEMU's tools show entries. */
  get text(): string {
    return (BigInt(this.high >>> 0) * 2n ** 32n + BigInt(this.low)).toString(16);
  }
}

export class L2Walk {
  readonly #file: HostFile;
  readonly #geometry: Geometry;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #entry = new L2Entry();

  constructor(file: HostFile, geometry: Geometry) {
    this.#file = file;
    this.#geometry = geometry;
    this.#bytes = new Uint8Array(geometry.clusterSize);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /**
   * Reads a table and visits each entry that points somewhere.
   *
   * @param visit the entry is good during the call only
   * @throws {SystemError} if the file cannot be read or written.
   */
  each(tableOffset: number, visit: (entry: L2Entry) => void): void {
    const { clusterSize, clusterBits, l2Entries, l2EntryBytes } = this.#geometry;
    const view = this.#view;
    const entry = this.#entry;
    const shift = 62 - (clusterBits - 8);
    this.#bytes.fill(0, this.#file.read(this.#bytes, tableOffset));
    for (let index = 0; index < l2Entries; index++) {
      const high = view.getUint32(index * l2EntryBytes);
      const low = view.getUint32(index * l2EntryBytes + 4);
      if ((high | low) === 0) continue;
      entry.index = index;
      entry.high = high;
      entry.low = low;
      entry.isCompressed = (high & ENTRY_COMPRESSED) !== 0;
      if (entry.isCompressed) {
        const start = (high & 0x3fff_ffff & (2 ** (shift - 32) - 1)) * 2 ** 32 + low;
        const sectors = ((high & 0x3fff_ffff) >>> (shift - 32)) + 1;
        entry.offset = start - (start % 512);
        entry.length = sectors * 512;
      } else {
        entry.offset = (high & OFFSET_HIGH) * 2 ** 32 + ((low & OFFSET_LOW) >>> 0);
        entry.length = clusterSize;
        // With COPIED offset 0 is a place: the first cluster of an external data file.
        if (entry.offset === 0 && !entry.isCopied) continue;
      }
      visit(entry);
    }
  }

  /** In the table that `each` is going through: sets or clears the COPIED bit of an entry. */
  mark(index: number, copied: boolean): void {
    const at = index * this.#geometry.l2EntryBytes;
    const high = this.#view.getUint32(at);
    this.#view.setUint32(at, copied ? high | COPIED : high & ~COPIED);
  }

  /** Writes the table that `each` went through last. @throws {SystemError} */
  write(tableOffset: number): void {
    this.#file.write(this.#bytes, tableOffset);
  }
}
