/**
 * Writes to guest memory by time and address, in a grid of bounded size: when time or
 * addresses pass its edge, neighbouring columns or rows are merged.
 */
import type { TouchedMemory as TouchedMemoryData } from "./report-data.ts";

const MAX_COLUMNS = 160;
const MAX_ROWS = 128;
const FIRST_COLUMN = 1_000_000; // ns

export class TouchedMemory {
  readonly #pages = new Float64Array(MAX_COLUMNS * MAX_ROWS);
  #columnWidth = FIRST_COLUMN;
  #rowGranules = 1;
  #page = 0;
  #granule = 0;
  #end = 0;
  #columns = 0;
  #rows = 0;

  /**
   * @param page    bytes of a page
   * @param granule bytes of memory for each entry of `dirty`; that of the first sample is used
   * @param dirty   pairs of granule number and pages written since the previous sample
   */
  add(
    t: number,
    page: number,
    granule: number,
    dirty: readonly (readonly [granule: number, pages: number])[],
  ): void {
    if (page === 0 || granule === 0) return; // counts nothing
    if (this.#granule === 0) [this.#page, this.#granule] = [page, granule];
    while (t >= this.#columnWidth * MAX_COLUMNS) this.#mergeColumns();
    const column = Math.floor(t / this.#columnWidth);
    this.#columns = Math.max(this.#columns, column + 1);
    this.#end = Math.max(this.#end, t);
    for (const [index, pages] of dirty) {
      const at = Math.floor((index * granule) / this.#granule);
      while (at >= this.#rowGranules * MAX_ROWS) this.#mergeRows();
      const row = Math.floor(at / this.#rowGranules);
      this.#rows = Math.max(this.#rows, row + 1);
      this.#pages[row * MAX_COLUMNS + column] += pages;
    }
  }

  /** Undefined if there was no sample. */
  toData(): TouchedMemoryData | undefined {
    if (this.#granule === 0) return undefined;
    const cells: { column: number; row: number; pages: number }[] = [];
    this.#pages.forEach((pages, i) => {
      if (pages > 0) cells.push({ column: i % MAX_COLUMNS, row: Math.floor(i / MAX_COLUMNS), pages });
    });
    return {
      page: this.#page,
      rowBytes: this.#granule * this.#rowGranules,
      rows: this.#rows,
      columnWidth: this.#columnWidth,
      columns: this.#columns,
      cells,
    };
  }

  #mergeColumns(): void {
    this.#columnWidth *= 2;
    this.#columns = Math.ceil(this.#columns / 2);
    const old = this.#pages.slice();
    this.#pages.fill(0);
    old.forEach((pages, i) => {
      const column = i % MAX_COLUMNS;
      this.#pages[i - column + (column >> 1)] += pages;
    });
  }

  #mergeRows(): void {
    this.#rowGranules *= 2;
    this.#rows = Math.ceil(this.#rows / 2);
    const old = this.#pages.slice();
    this.#pages.fill(0);
    old.forEach((pages, i) => {
      const column = i % MAX_COLUMNS;
      this.#pages[(((i - column) / MAX_COLUMNS) >> 1) * MAX_COLUMNS + column] += pages;
    });
  }
}
