/**
 * Entries of tables in a file, read by the page and stored in a bounded cache, because
 * a table may be too large for memory.
 *
 * Tables begin at multiples of their entries' size, so no entry crosses a page.
 */
import { PAGE } from "../base/units.ts";
import type { HostFile } from "../sys/file.ts";
import { TableCache } from "./table-cache.ts";

export class TablePages {
  readonly #cache: TableCache;

  /**
   * @param bytes the total size of all tables: the cache is not larger
   * @param most the limit of the cache in bytes
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
