/** Finds a kernel's panic on its console: it appears nowhere else, and without panic= the guest then halts for ever. */

/** How Linux announces a panic. */
const PANIC = /Kernel panic - not syncing: [^\r\n]*/;
const TAIL = 4096;

export class PanicWatch {
  /** The line that announced it, once it was seen. */
  line: string | undefined;
  #tail = "";

  /** @param text what the console printed next. True if this completes the announcement */
  watch(text: string): boolean {
    if (this.line !== undefined) return false;
    this.#tail = (this.#tail + text).slice(-TAIL);
    const found = PANIC.exec(this.#tail);
    if (found === null || found.index + found[0].length === this.#tail.length) return false; // the line is not complete yet
    this.#tail = "";
    this.line = found[0];
    return true;
  }

  /** The machine starts anew. */
  forget(): void {
    this.line = undefined;
  }
}
