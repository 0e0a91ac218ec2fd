/**
 * Requests that a device has popped and cannot serve yet, by their heads, in the
 * order in which they are to be served. Unlike everything else that the io
 * thread keeps of a request this outlives a pause, so it lies in a state block.
 */
import { layout, type View } from "../../base/layout.ts";

const CAPACITY = 256;

const fields = { first: "u32", length: "u32", heads: { u32: CAPACITY } } as const;

/** Of one queue. Written by the io thread only. */
export const DeferredHeadsState = layout("virtqueue-deferred", 1, fields);

/** A queue of heads in a ring. Each head is in it at most once, as it is not popped again before it was pushed. */
export class DeferredHeads {
  /** Descriptors that the queue may have. */
  static readonly CAPACITY = CAPACITY;
  readonly #regs: View<typeof fields>;

  constructor(regs: View<typeof fields>) {
    this.#regs = regs;
  }

  get length(): number {
    return this.#regs.length;
  }

  /** The head that comes next. */
  get first(): number {
    return this.#regs.heads[this.#regs.first % CAPACITY];
  }

  shift(): void {
    this.#regs.first = (this.#regs.first + 1) % CAPACITY;
    this.#regs.length--;
  }

  push(head: number): void {
    this.#regs.heads[(this.#regs.first + this.#regs.length) % CAPACITY] = head;
    this.#regs.length++;
  }

  clear(): void {
    this.#regs.length = 0;
  }
}
