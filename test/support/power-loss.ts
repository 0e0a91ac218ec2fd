/**
 * The contents of files after a power loss. A recorder records every change and every
 * flush of files; a VolatileFile applies them, and gives a possible content of stable
 * storage at that moment.
 *
 * The host keeps written data in its page cache, and writes it back at any time and in
 * any order, sector by sector. So each sector may have its content of the last flush,
 * or that of any write since then; the file may have any length that it had since then.
 */
import type { Pieces } from "../../src/base/pieces.ts";
import { HostFile, type TransferMemory } from "../../src/sys/file.ts";

const SECTOR = 512;

export type StorageEvent =
  /** `stable`: on stable storage when it returned. */
  | {
      readonly kind: "write";
      readonly path: string;
      readonly offset: number;
      readonly bytes: Uint8Array;
      readonly stable: boolean;
    }
  | { readonly kind: "zero"; readonly path: string; readonly offset: number; readonly length: number }
  | { readonly kind: "size"; readonly path: string; readonly size: number }
  | { readonly kind: "flush"; readonly path: string };

/** Records all changes and flushes of this thread's files, until it is disposed. */
export class StorageRecorder {
  readonly events: StorageEvent[] = [];
  readonly #prototype = HostFile.prototype;
  readonly #original = {
    write: this.#prototype.write,
    writev: this.#prototype.writev,
    truncate: this.#prototype.truncate,
    flush: this.#prototype.flush,
    discard: this.#prototype.discard,
    writeZeroes: this.#prototype.writeZeroes,
    allocate: this.#prototype.allocate,
  };

  constructor() {
    const { events } = this;
    const original = this.#original;
    Object.assign(this.#prototype, {
      write(this: HostFile, bytes: Uint8Array, offset: number) {
        original.write.call(this, bytes, offset);
        events.push({ kind: "write", path: this.path, offset, bytes: bytes.slice(), stable: false });
      },
      writev(this: HostFile, memory: TransferMemory, pieces: Pieces, offset: number, stable: boolean) {
        const result = original.writev.call(this, memory, pieces, offset, stable);
        if (!(memory instanceof Uint8Array)) throw new Error("only buffers are recorded");
        const bytes = gather(memory, pieces).subarray(0, Math.max(0, result));
        events.push({ kind: "write", path: this.path, offset, bytes, stable });
        return result;
      },
      truncate(this: HostFile, size: number) {
        original.truncate.call(this, size);
        events.push({ kind: "size", path: this.path, size });
      },
      flush(this: HostFile) {
        const result = original.flush.call(this);
        if (result === 0) events.push({ kind: "flush", path: this.path });
        return result;
      },
      discard(this: HostFile, offset: number, length: number) {
        const result = original.discard.call(this, offset, length);
        if (result === 0) events.push({ kind: "zero", path: this.path, offset, length });
        return result;
      },
      writeZeroes(this: HostFile, offset: number, length: number, mayUnmap: boolean) {
        const result = original.writeZeroes.call(this, offset, length, mayUnmap);
        if (result === 0) events.push({ kind: "zero", path: this.path, offset, length });
        return result;
      },
      allocate(this: HostFile, offset: number, length: number) {
        const result = original.allocate.call(this, offset, length);
        const size = Math.max(this.size, offset + length);
        if (result === 0) events.push({ kind: "size", path: this.path, size });
        return result;
      },
    });
  }

  [Symbol.dispose](): void {
    Object.assign(this.#prototype, this.#original);
  }
}

function gather(memory: Uint8Array, { pairs, first, count }: Pieces): Uint8Array {
  const parts = [];
  for (let i = first; i < first + count; i++)
    parts.push(memory.subarray(pairs[2 * i], pairs[2 * i] + pairs[2 * i + 1]));
  return new Uint8Array(Buffer.concat(parts));
}

/** The content of a sector after one of the changes since the last flush. */
interface Version {
  /** The number of the change. */
  readonly serial: number;
  readonly bytes: Uint8Array;
}

export class VolatileFile {
  /** The contents in the page cache, and the length of the file. */
  #now: Uint8Array;
  #size: number;
  /** The contents that are certainly on stable storage. */
  #stable: Uint8Array;
  readonly #versions = new Map<number, Version[]>();
  /** Lengths of the file since the last flush. */
  #sizes: number[];
  #serial = 0;

  constructor(contents: Uint8Array) {
    this.#now = contents.slice();
    this.#size = contents.length;
    this.#stable = contents.slice();
    this.#sizes = [contents.length];
  }

  tell(event: StorageEvent): void {
    this.#serial++;
    switch (event.kind) {
      case "write":
        this.#change(event.offset, event.bytes, event.stable);
        break;
      case "zero": {
        const length = Math.min(event.length, this.#size - event.offset);
        if (length > 0) this.#change(event.offset, new Uint8Array(length), false);
        break;
      }
      case "size":
        if (event.size < this.#size) this.#change(event.size, new Uint8Array(this.#size - event.size), false);
        this.#resize(event.size);
        break;
      case "flush":
        this.#stable = this.#now.slice(0, this.#size);
        this.#versions.clear();
        this.#sizes = [this.#size];
    }
  }

  /** A possible content after a power loss now. */
  afterLoss(draw: () => number): Uint8Array {
    const size = this.#sizes[Math.floor(draw() * this.#sizes.length)];
    const left = new Uint8Array(size);
    left.set(this.#stable.subarray(0, size));
    const keeps = this.#choice(draw);
    for (const [sector, versions] of this.#versions) {
      const kept = keeps(versions);
      const at = sector * SECTOR;
      if (kept !== undefined && at < size) left.set(kept.bytes.subarray(0, size - at), at);
    }
    return left;
  }

  /** One of the ways in which storage loses data: which version of a sector remains, if any. */
  #choice(draw: () => number): (versions: readonly Version[]) => Version | undefined {
    const serials = this.#serial + 1;
    switch (Math.floor(draw() * 3)) {
      case 0: {
        // In order, up to some point in the middle of a change.
        const until = Math.floor(draw() * serials);
        const torn = draw();
        return (versions) =>
          versions.findLast(({ serial }) => serial < until || (serial === until && draw() < torn));
      }
      case 1: {
        // Some changes as a whole, in a different order.
        const share = [0.05, 0.5, 0.95][Math.floor(draw() * 3)];
        const kept = new Map<number, boolean>();
        const isKept = (serial: number) => {
          if (!kept.has(serial)) kept.set(serial, draw() < share);
          return kept.get(serial) === true;
        };
        return (versions) => versions.findLast(({ serial }) => isKept(serial));
      }
      default: {
        // Every sector by itself.
        const share = [0.1, 0.5, 0.9][Math.floor(draw() * 3)];
        return (versions) => (draw() < share ? versions[Math.floor(draw() * versions.length)] : undefined);
      }
    }
  }

  #change(offset: number, bytes: Uint8Array, stable: boolean): void {
    const end = offset + bytes.length;
    if (end > this.#size) this.#resize(end);
    this.#now.set(bytes, offset);
    if (stable) {
      this.#sizes = this.#sizes.map((size) => Math.max(size, end));
      if (this.#stable.length < end) this.#stable = extended(this.#stable, end);
    }
    for (let sector = Math.floor(offset / SECTOR); sector * SECTOR < end; sector++) {
      const version = {
        serial: this.#serial,
        bytes: this.#now.slice(sector * SECTOR, (sector + 1) * SECTOR),
      };
      if (stable) {
        this.#stable.set(version.bytes.subarray(0, this.#stable.length - sector * SECTOR), sector * SECTOR);
        this.#versions.delete(sector);
        continue;
      }
      const versions = this.#versions.get(sector);
      if (versions === undefined) this.#versions.set(sector, [version]);
      else versions.push(version);
    }
  }

  #resize(size: number): void {
    if (size > this.#now.length) this.#now = extended(this.#now, Math.max(size, 2 * this.#now.length));
    this.#size = size;
    this.#sizes.push(size);
  }
}

function extended(bytes: Uint8Array, length: number): Uint8Array {
  const longer = new Uint8Array(length);
  longer.set(bytes);
  return longer;
}
