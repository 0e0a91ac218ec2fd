/** A disk in memory behind virtio-blk: remembers what it was asked, fails on demand. */
import type { BlockBackend } from "../../src/block/backend.ts";
import type { TestMemory } from "./virtio-driver.ts";

export class MemoryDisk implements BlockBackend {
  readonly readOnly = false;
  readonly blockSize = 4096;
  readonly bytes: Uint8Array;
  /** One line a call. */
  readonly calls: string[] = [];
  /** -errno that every call returns instead of doing its work. */
  failure = 0;
  readonly #memory: TestMemory;

  constructor(memory: TestMemory, size: number) {
    this.#memory = memory;
    this.bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number): number {
    return this.#transfer(`readv ${offset}`, iov, first, count, offset, (ram, disk) => ram.set(disk));
  }

  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number {
    const call = `writev ${offset}${dsync ? " dsync" : ""}`;
    return this.#transfer(call, iov, first, count, offset, (ram, disk) => disk.set(ram));
  }

  flush(): number {
    return this.#called("flush");
  }

  discard(offset: number, length: number): number {
    return this.#called(`discard ${offset} ${length}`);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    this.bytes.fill(0, offset, offset + length);
    return this.#called(`zero ${offset} ${length}${mayUnmap ? " unmap" : ""}`);
  }

  close(): void {}

  #called(call: string): number {
    this.calls.push(call);
    return this.failure;
  }

  #transfer(
    call: string,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    move: (ram: Uint8Array, disk: Uint8Array) => void,
  ): number {
    let done = 0;
    if (this.#called(call) < 0) return this.failure;
    for (let i = first; i < first + count; i++) {
      const [at, length] = [iov[2 * i], iov[2 * i + 1]];
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
