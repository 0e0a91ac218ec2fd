/** The memory balloon of a machine: takes memory from the running guest, and asks how much it uses. */
import { PAGE } from "../../base/units.ts";
import type { Outlet, PartHandle } from "./outlet.ts";

/** What the guest's driver reports of its memory, in bytes or counts. What it did not report is absent. */
export interface BalloonStats {
  readonly totalMemory?: number;
  readonly freeMemory?: number;
  /** What programs could get without swapping. */
  readonly availableMemory?: number;
  readonly diskCaches?: number;
  readonly swapIn?: number;
  readonly swapOut?: number;
  /** Counts of page faults: with a read from disk, and without. */
  readonly majorFaults?: number;
  readonly minorFaults?: number;
  /** Counts. */
  readonly hugePageAllocations?: number;
  readonly hugePageFailures?: number;
}

const STATS = [
  "totalMemory",
  "freeMemory",
  "availableMemory",
  "diskCaches",
  "swapIn",
  "swapOut",
  "majorFaults",
  "minorFaults",
  "hugePageAllocations",
  "hugePageFailures",
] as const;

/** The guest sends no statistics, or the machine has ended. */
export class BalloonError extends Error {
  override readonly name = "BalloonError";
  /** ENOTSUP: the guest has no driver that knows statistics. ETIMEDOUT. ESTATE: the machine ended. */
  readonly code: "ENOTSUP" | "ETIMEDOUT" | "ESTATE";

  constructor(code: BalloonError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

const DEFAULT_TIMEOUT_MS = 10_000;

export class VmBalloon implements Outlet {
  /** Bytes of RAM. */
  readonly #memory: number;
  #part: PartHandle | undefined;
  /** The size that the owner asked for; a reset keeps it. */
  #target = 0;
  /** Called with each report of the guest. */
  readonly #waiting = new Set<() => void>();

  /** @param memory bytes of RAM that the machine has */
  constructor(memory: number) {
    this.#memory = memory;
  }

  plug(part: PartHandle): void {
    this.#part = part;
    if (this.#target > 0) part.set("target", this.#target);
    else this.#target = part.get("target"); // of a machine that continues
  }

  ready(): void {
    for (const wake of this.#waiting) wake();
  }

  rewound(): void {
    if (this.#part !== undefined) this.#target = this.#part.get("target");
    this.ready();
  }

  finish(): void {
    this.#part = undefined;
    this.ready();
  }

  /** Bytes of RAM that the guest still has: all but the pages that its driver returned. */
  get size(): number {
    return this.#memory - this.#present().get("actual") * PAGE;
  }

  /** The size in bytes that the guest was asked to shrink to. */
  get target(): number {
    return this.#memory - this.#target * PAGE;
  }

  /**
   * Asks the guest to use only `bytes` of memory. Its driver returns the rest when it can: see `size`.
   * @throws {RangeError} for more than it has, or less than nothing; {BalloonError} once the machine has ended
   */
  resize(bytes: number): void {
    if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > this.#memory) {
      throw new RangeError(`a guest of ${this.#memory} bytes cannot be left with ${bytes}`);
    }
    const part = this.#present();
    this.#target = Math.floor((this.#memory - bytes) / PAGE);
    part.set("target", this.#target);
  }

  /**
   * The guest's memory statistics, requested now.
   * @throws {BalloonError} ENOTSUP if it has no driver for that, or not yet; ETIMEDOUT if it does not answer
   */
  async stats(options: { readonly timeoutMs?: number } = {}): Promise<BalloonStats> {
    const part = this.#present();
    if (part.get("hasStats") === 0) {
      throw new BalloonError("ENOTSUP", "the guest has no balloon driver that sends statistics, or not yet");
    }
    const before = part.get("reports");
    part.set("wanted", 1);
    part.notify();
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    await this.#until(() => part.get("reports") !== before, timeoutMs);
    const stats = STATS.map((name) => [name, part.get(name)] as const);
    return Object.fromEntries(stats.filter(([, value]) => value >= 0));
  }

  /** @throws {BalloonError} */
  async #until(done: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.#part !== undefined && !done()) {
      const left = deadline - performance.now();
      if (left <= 0)
        throw new BalloonError("ETIMEDOUT", `the guest sent no statistics within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, left);
        this.#waiting.add(wake);
      });
    }
    this.#present();
  }

  #present(): PartHandle {
    if (this.#part === undefined) throw new BalloonError("ESTATE", "the machine has ended");
    return this.#part;
  }
}
