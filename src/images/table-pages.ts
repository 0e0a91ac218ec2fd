/**
 * Entries of tables that lie in a file, read by the page and kept in a bounded
 * cache: a table may be larger than anybody would want in memory.
 *
 * Tables begin at multiples of their entries' size, so no entry lies across pages.
 */
import type { HostFile } from "../sys/file.ts";
import { TableCache } from "./table-cache.ts";

const PAGE = 4096;

export class TablePages {
  readonly #cache: TableCache;

  /**
   * @param bytes of all tables together: no more is taken than they need
   * @param most bytes that may be taken
   */
  constructor(file: HostFile, bytes: number, most: number) {
    const pages = Math.min(Math.ceil(bytes / PAGE) + 1, Math.max(1, Math.floor(most / PAGE)));
    this.#cache = new TableCache(file, PAGE, pages, () => {});
  }

  /** The entry at `offset` of the file, little endian. @throws {SystemError} */
  uint32(offset: number): number {
    const start = offset % PAGE;
    return this.#cache.view.getUint32(this.#cache.at(offset - start) + start, true);
  }

  /** The same, big endian. @throws {SystemError} */
  uint32BigEndian(offset: number): number {
    const start = offset % PAGE;
    return this.#cache.view.getUint32(this.#cache.at(offset - start) + start);
  }
}
