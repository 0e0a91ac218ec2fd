/**
 * The program's own disks, on the program's thread: passes the requests of the io
 * thread to a source, with views of guest memory, and sends the results back.
 */
import { isPowerOfTwo } from "../base/power-of-two.ts";
import type { DiskFacts } from "../disk/disk-facts.ts";
import { type DiskSource, errnoOf } from "../disk/disk-source.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { EventFd } from "../sys/event.ts";
import type { ProgramDiskData, ProgramRequest } from "../threads/io/program-disk.ts";
import { ResultRing } from "../threads/io/result-ring.ts";

/** The most bytes of guest memory that one view can have. */
const VIEW = 2 ** 21;
const ZEROS = new Uint8Array(VIEW);

/** One source, from one power-on to the next. */
export class ProgramDiskPort {
  readonly data: ProgramDiskData;
  readonly #source: DiskSource;
  readonly #memory: GuestMemory;
  readonly #failed: (message: string) => void;
  readonly #results: ResultRing;
  readonly #event: EventFd;
  readonly #underWay = new Set<Promise<void>>();
  #failures = 0;
  #closed = false;

  /**
   * @param tags requests have tags below this
   * @param failed called with errors that the source threw
   * @throws {SystemError} EMFILE when the process has too many descriptors
   */
  constructor(
    source: DiskSource,
    facts: DiskFacts,
    memory: GuestMemory,
    tags: number,
    failed: (message: string) => void,
  ) {
    this.#source = source;
    this.#memory = memory;
    this.#failed = failed;
    this.#event = EventFd.create();
    const results = new SharedArrayBuffer(ResultRing.bytes(tags));
    this.#results = new ResultRing(results);
    this.data = { ...facts, results, event: this.#event.token };
  }

  /** Takes a request of the io thread. */
  ask(tag: number, request: ProgramRequest): void {
    const done = this.#answer(tag, request);
    this.#underWay.add(done);
    void done.then(() => this.#underWay.delete(done));
  }

  /** Settles when the source has no request in progress. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** Results are no longer wanted. */
  close(): void {
    this.#closed = true;
    this.#event.close();
  }

  async #answer(tag: number, request: ProgramRequest): Promise<void> {
    let result = 0;
    try {
      result = await this.#carryOut(request);
    } catch (error) {
      result = errnoOf(error);
      if (isPowerOfTwo(++this.#failures)) {
        const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
        this.#failed(`${request.kind} of the program's own disk threw: ${why}`);
      }
    }
    if (this.#closed) return;
    this.#results.put(tag, result);
    this.#event.signal();
  }

  async #carryOut(request: ProgramRequest): Promise<number> {
    const source = this.#source;
    switch (request.kind) {
      case "read": {
        const views = this.#views(request.pairs);
        await source.read(request.offset, views);
        return bytesOf(views);
      }
      case "write": {
        const views = this.#views(request.pairs);
        await source.write?.(request.offset, views);
        if (request.dsync) await source.flush?.();
        return bytesOf(views);
      }
      case "flush":
        await source.flush?.();
        return 0;
      case "discard":
        await source.discard?.(request.offset, request.length);
        return 0;
      case "zero":
        if (source.writeZeroes !== undefined) {
          await source.writeZeroes(request.offset, request.length, request.mayUnmap);
          return 0;
        }
        for (let done = 0; done < request.length; done += VIEW) {
          const zeros = ZEROS.subarray(0, Math.min(VIEW, request.length - done));
          await source.write?.(request.offset + done, [zeros]);
        }
        return 0;
    }
  }

  #views(pairs: Float64Array): Uint8Array[] {
    const views: Uint8Array[] = [];
    for (let i = 0; i < pairs.length; i += 2) {
      for (let done = 0; done < pairs[i + 1]; done += VIEW) {
        views.push(this.#memory.window(pairs[i] + done, Math.min(VIEW, pairs[i + 1] - done)));
      }
    }
    return views;
  }
}

function bytesOf(views: readonly Uint8Array[]): number {
  return views.reduce((sum, view) => sum + view.length, 0);
}
