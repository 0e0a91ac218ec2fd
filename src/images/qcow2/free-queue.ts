/**
 * Clusters whose use has ended in memory, but not yet on stable storage: their refcounts
 * are lowered after the tables without them are written.
 */
const CAPACITY = 4096;

export class FreeQueue {
  /** Runs in the queue. */
  length = 0;
  readonly #first = new Float64Array(CAPACITY);
  readonly #count = new Float64Array(CAPACITY);
  /** 1 if the storage is to be freed on the host. */
  readonly #punch = new Uint8Array(CAPACITY);

  get isFull(): boolean {
    return this.length === CAPACITY;
  }

  /** Adds a run of clusters to a queue that is not full. */
  add(first: number, count: number, punch: boolean): void {
    const last = this.length - 1;
    const same = last >= 0 && this.#punch[last] === (punch ? 1 : 0);
    if (same && this.#first[last] + this.#count[last] === first) {
      this.#count[last] += count;
      return;
    }
    this.#first[this.length] = first;
    this.#count[this.length] = count;
    this.#punch[this.length] = punch ? 1 : 0;
    this.length++;
  }

  /** Empties the queue into `take`. */
  drain(take: (first: number, count: number, punch: boolean) => void): void {
    const { length } = this;
    this.length = 0;
    for (let i = 0; i < length; i++) take(this.#first[i], this.#count[i], this.#punch[i] === 1);
  }
}
