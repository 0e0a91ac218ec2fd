/** A disk of the program's own, in memory, which a test can delay or make fail. */
import type { DiskSource } from "../../src/disk/disk-source.ts";

/** Called before a request is executed: it may throw or delay the request. */
type Before = (offset: number, bytes: number) => void | Promise<void>;

export class MemorySource implements DiskSource {
  readonly bytes: Buffer;
  flushes = 0;
  closed = false;
  before: { read?: Before; write?: Before } = {};

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  async read(offset: number, views: readonly Uint8Array[]): Promise<void> {
    await this.before.read?.(offset, total(views));
    let at = offset;
    for (const view of views) {
      view.set(this.bytes.subarray(at, at + view.length));
      at += view.length;
    }
  }

  async write(offset: number, views: readonly Uint8Array[]): Promise<void> {
    await this.before.write?.(offset, total(views));
    let at = offset;
    for (const view of views) {
      this.bytes.set(view, at);
      at += view.length;
    }
  }

  async flush(): Promise<void> {
    this.flushes++;
  }

  close(): void {
    this.closed = true;
  }
}

function total(views: readonly Uint8Array[]): number {
  return views.reduce((sum, { length }) => sum + length, 0);
}

/** An error like the host's. */
export function hostSays(code: string): Error {
  return Object.assign(new Error(`the host says ${code}`), { code });
}

/** A promise that never settles. */
export function never(): Promise<void> {
  return new Promise(() => {});
}
