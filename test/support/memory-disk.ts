/** A disk in memory, behind a device: it records calls, and fails or delays them on demand. */

import { EINPROGRESS } from "../../src/base/errno.ts";
import type { Pieces } from "../../src/base/pieces.ts";
import type { BlockBackend } from "../../src/disk/backend.ts";
import { EventFd } from "../../src/sys/event.ts";
import type { TestMemory } from "./virtio-driver.ts";

export class MemoryDisk implements BlockBackend {
  readonly readOnly: boolean = false;
  readonly blockSize = 4096;
  readonly bytes: Uint8Array;
  /** One line for each call. */
  readonly calls: string[] = [];
  /** -errno that every call returns, without doing its work. */
  failure = 0;
  /** True: requests complete only when they are submitted, the last one first. */
  later = false;
  /** True: submitting does not complete requests; only waiting for them does. */
  slow = false;
  result = 0;
  readonly event = EventFd.create();
  readonly #memory: Pick<TestMemory, "bytes" | "check">;
  readonly #begun: { tag: number; result: number }[] = [];
  readonly #over: { tag: number; result: number }[] = [];

  constructor(memory: Pick<TestMemory, "bytes" | "check">, size: number) {
    this.#memory = memory;
    this.bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  readv(pieces: Pieces, offset: number, tag: number): number {
    const call = `readv ${offset}`;
    return this.#end(
      tag,
      this.#transfer(call, pieces, offset, (ram, disk) => ram.set(disk)),
    );
  }

  writev(pieces: Pieces, offset: number, dsync: boolean, tag: number): number {
    const call = `writev ${offset}${dsync ? " dsync" : ""}`;
    return this.#end(
      tag,
      this.#transfer(call, pieces, offset, (ram, disk) => disk.set(ram)),
    );
  }

  flush(tag: number): number {
    return this.#end(tag, this.#called("flush"));
  }

  discard(offset: number, length: number, tag: number): number {
    return this.#end(tag, this.#called(`discard ${offset} ${length}`));
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, tag: number): number {
    this.bytes.fill(0, offset, offset + length);
    return this.#end(tag, this.#called(`zero ${offset} ${length}${mayUnmap ? " unmap" : ""}`));
  }

  submit(): void {
    if (!this.slow) this.drain();
  }

  take(): number {
    const next = this.#over.shift();
    if (next === undefined) return -1;
    this.result = next.result;
    return next.tag;
  }

  drain(): boolean {
    this.#over.push(...this.#begun.splice(0).reverse());
    return true;
  }

  close(): void {}

  #end(tag: number, result: number): number {
    if (!this.later) return result;
    this.#begun.push({ tag, result });
    return EINPROGRESS;
  }

  #called(call: string): number {
    this.calls.push(call);
    return this.failure;
  }

  #transfer(
    call: string,
    { pairs, first, count }: Pieces,
    offset: number,
    move: (ram: Uint8Array, disk: Uint8Array) => void,
  ): number {
    let done = 0;
    if (this.#called(call) < 0) return this.failure;
    for (let i = first; i < first + count; i++) {
      const [at, length] = [pairs[2 * i], pairs[2 * i + 1]];
      this.#memory.check(at, length);
      move(
        this.#memory.bytes.subarray(at, at + length),
        this.bytes.subarray(offset + done, offset + done + length),
      );
      done += length;
    }
    if (offset + done > this.bytes.length) throw new Error(`access outside the disk: ${call}, ${done} bytes`);
    return done;
  }
}
