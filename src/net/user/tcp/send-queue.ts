/** Bytes for the guest that it has not acknowledged: chunks as the host's socket delivered them, without copies. */
export class SendQueue {
  #chunks: Uint8Array[] = [];
  /** Chunks before this index are acknowledged. */
  #first = 0;
  /** Acknowledged bytes of the first chunk. */
  #skip = 0;
  #length = 0;
  /** Where the last `slice` ended: segments follow each other. */
  #cursorChunk = 0;
  #cursorOffset = 0;

  get length(): number {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** `count` bytes are acknowledged. */
  drop(count: number): void {
    this.#length -= count;
    this.#skip += count;
    this.#cursorOffset -= count;
    while (this.#first < this.#chunks.length && this.#skip >= this.#chunks[this.#first].length) {
      this.#skip -= this.#chunks[this.#first].length;
      this.#chunks[this.#first] = EMPTY;
      this.#first++;
    }
    if (this.#cursorOffset < 0) this.#rewind();
    if (this.#first > MAX_DEAD && this.#first * 2 > this.#chunks.length) {
      this.#chunks.splice(0, this.#first);
      this.#cursorChunk -= this.#first;
      this.#first = 0;
    }
  }

  clear(): void {
    this.#chunks = [];
    this.#first = 0;
    this.#skip = 0;
    this.#length = 0;
    this.#rewind();
  }

  /**
   * `count` bytes from `offset`: a view where they are in one chunk, or at least `enough` of them are; else a
   * copy that is valid until the next call.
   */
  slice(offset: number, count: number, enough: number): Uint8Array {
    this.#seek(offset);
    const chunk = this.#chunks[this.#cursorChunk];
    const at = offset - this.#cursorOffset + (this.#cursorChunk === this.#first ? this.#skip : 0);
    if (chunk.length - at >= Math.min(count, enough)) return chunk.subarray(at, at + count);
    const copy = scratch.subarray(0, count);
    let done = 0;
    for (let n = this.#cursorChunk, from = at; done < count; n++, from = 0) {
      const part = this.#chunks[n].subarray(from, from + count - done);
      copy.set(part, done);
      done += part.length;
    }
    return copy;
  }

  /** Moves the cursor to the chunk that contains `offset`. */
  #seek(offset: number): void {
    if (offset < this.#cursorOffset || this.#cursorChunk < this.#first) this.#rewind();
    for (;;) {
      const skipped = this.#cursorChunk === this.#first ? this.#skip : 0;
      const size = this.#chunks[this.#cursorChunk].length - skipped;
      if (offset < this.#cursorOffset + size) return;
      this.#cursorOffset += size;
      this.#cursorChunk++;
    }
  }

  #rewind(): void {
    this.#cursorChunk = this.#first;
    this.#cursorOffset = 0;
  }
}

/** Longer than any segment; shared by all queues of a thread. */
const scratch = new Uint8Array(65_536);
const EMPTY = new Uint8Array(0);
const MAX_DEAD = 32;
