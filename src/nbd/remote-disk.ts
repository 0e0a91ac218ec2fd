/**
 * A disk behind a network, for programs that wait for each request: a thread has
 * the connection, and the caller sleeps until it has answered.
 *
 * One request is in flight at a time, of at most CALL_BYTES, which pass through memory
 * that both threads share; in addition there may be a read-ahead of `prefetch`. The
 * thread (remote-thread.ts) knows NBD; the rest of the library sees a raw image.
 */

import { SHARE_ENV, Worker } from "node:worker_threads";
import { Call } from "../base/call.ts";
import { EBADF } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import type { DiskImage, Extent } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import type { IoMemory } from "../disk/io-memory.ts";
import { PieceCursor } from "../disk/piece-cursor.ts";

/** Bytes of one read or write. */
const CALL_BYTES = 2 ** 21;

/** The shared memory of the two threads: the call; four numbers; data. */
export class CallMemory {
  readonly buffer: SharedArrayBuffer;
  readonly call: Call;
  /** Results that are not an errno. */
  readonly numbers: Float64Array;
  readonly data: Uint8Array;

  constructor(buffer = new SharedArrayBuffer(HEADER_BYTES + CALL_BYTES)) {
    this.buffer = buffer;
    this.call = new Call(new Int32Array(buffer, 0, Call.WORDS));
    this.numbers = new Float64Array(buffer, 4 * Call.WORDS, 3);
    this.data = new Uint8Array(buffer, HEADER_BYTES);
  }
}

const HEADER_BYTES = 64;

/** Requests to the thread. Data is in the shared memory. All except "prefetch" have an answer. */
export interface RemoteCall {
  readonly kind: "prefetch" | "read" | "write" | "flush" | "discard" | "writeZeroes" | "extentAt" | "close";
  readonly offset: number;
  readonly length: number;
  readonly mayUnmap: boolean;
}

/** The start data of the thread. It answers with 0 and `numbers`, or -errno and a sentence in `data`. */
export interface RemoteStart {
  readonly buffer: SharedArrayBuffer;
  /** nbd://… */
  readonly name: string;
}

// Indices of `numbers`.
export const SIZE = 0;
export const BLOCK_SIZE = 1;
export const READ_ONLY = 2;
export const EXTENT_LENGTH = 0;
export const EXTENT_ZERO = 1;
export const EXTENT_HOLE = 2;

export class RemoteDisk implements DiskImage {
  readonly format = "raw";
  readonly path: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly #memory: CallMemory;
  readonly #worker: Worker;
  readonly #cursor = new PieceCursor();
  #closed = false;

  private constructor(path: string, readOnly: boolean, memory: CallMemory, worker: Worker) {
    const { numbers } = memory;
    this.path = path;
    this.size = numbers[SIZE];
    this.blockSize = numbers[BLOCK_SIZE];
    this.readOnly = readOnly;
    this.#memory = memory;
    this.#worker = worker;
  }

  /** @param name nbd://… @throws {ImageError} if there is no such disk, or it cannot be written and must be */
  static open(name: string, { readOnly = false }: { readonly readOnly?: boolean } = {}): RemoteDisk {
    const memory = new CallMemory();
    const workerData: RemoteStart = { buffer: memory.buffer, name };
    memory.call.begin();
    const worker = new Worker(new URL("./remote-thread.js", import.meta.url), {
      name: "vmexit remote disk",
      execArgv: [],
      env: SHARE_ENV,
      workerData,
    });
    worker.unref();
    const result = memory.call.wait();
    const refuse = (why: string): never => {
      void worker.terminate();
      throw new ImageError(name, why);
    };
    if (result < 0) refuse(sentenceIn(memory));
    const isReadOnly = memory.numbers[READ_ONLY] !== 0;
    if (isReadOnly && !readOnly) refuse("the server lets nobody write to this disk");
    return new RemoteDisk(name, readOnly || isReadOnly, memory, worker);
  }

  readv(memory: IoMemory, pieces: Pieces, offset: number): number {
    const { data } = this.#memory;
    return this.#transfer("read", pieces, offset, (at, length, from) => {
      memory.window(at, length).set(data.subarray(from, from + length));
    });
  }

  writev(memory: IoMemory, pieces: Pieces, offset: number, dsync: boolean): number {
    const { data } = this.#memory;
    const done = this.#transfer("write", pieces, offset, (at, length, from) => {
      data.set(memory.window(at, length), from);
    });
    const result = dsync && done >= 0 ? this.flush() : 0;
    return result < 0 ? result : done;
  }

  prefetch(offset: number, length: number): void {
    if (this.#closed || length > CALL_BYTES) return;
    const call: RemoteCall = { kind: "prefetch", offset, length, mayUnmap: false };
    this.#worker.postMessage(call);
  }

  flush(): number {
    return this.#call("flush");
  }

  discard(offset: number, length: number): number {
    return this.#call("discard", offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    return this.#call("writeZeroes", offset, length, mayUnmap);
  }

  /** Without an answer of the server, everything is data. */
  extentAt(offset: number, most: number): Extent {
    const place = { path: this.path, offset };
    const known = this.#call("extentAt", offset, most) >= 0;
    const { numbers } = this.#memory;
    return {
      length: known ? numbers[EXTENT_LENGTH] : most,
      allocated: true,
      zero: known && numbers[EXTENT_ZERO] !== 0,
      data: !known || numbers[EXTENT_HOLE] === 0,
      place,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#call("close");
    this.#closed = true;
    void this.#worker.terminate();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Moves pieces of the caller's memory through the shared memory. Returns how many bytes, or -errno. */
  #transfer(
    kind: "read" | "write",
    pieces: Pieces,
    offset: number,
    move: (at: number, length: number, from: number) => void,
  ): number {
    const cursor = this.#cursor;
    const wanted = cursor.begin(pieces);
    for (let done = 0; done < wanted; done += CALL_BYTES) {
      const part = Math.min(CALL_BYTES, wanted - done);
      cursor.take(part);
      const moveAll = () => {
        let from = 0;
        const { pairs, count } = cursor.portion;
        for (let n = 0; n < count; n++) {
          const length = pairs[2 * n + 1];
          move(pairs[2 * n], length, from);
          from += length;
        }
      };
      if (kind === "write") moveAll();
      const result = this.#call(kind, offset + done, part);
      if (result < 0) return result;
      if (kind === "read") moveAll();
    }
    return wanted;
  }

  #call(kind: RemoteCall["kind"], offset = 0, length = 0, mayUnmap = false): number {
    if (this.#closed) return EBADF;
    const call: RemoteCall = { kind, offset, length, mayUnmap };
    this.#memory.call.begin();
    this.#worker.postMessage(call);
    return this.#memory.call.wait();
  }
}

/** Writes a sentence for the other thread. */
export function putSentence({ data }: CallMemory, sentence: string): void {
  const bytes = Buffer.from(sentence).subarray(0, MAX_SENTENCE);
  data.set(bytes);
  data.fill(0, bytes.length, MAX_SENTENCE);
}

function sentenceIn({ data }: CallMemory): string {
  // A copy: text is not decoded from memory that another thread could change.
  const bytes = Buffer.from(data.slice(0, MAX_SENTENCE));
  return bytes.toString("utf8").replace(/\0+$/, "");
}

const MAX_SENTENCE = 4096;
