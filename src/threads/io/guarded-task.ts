/**
 * A task beside those of other machines: an error in it, a bug of the monitor, ends
 * its machine and no other. It does nothing from then on.
 */
import { type Bell, type BellListener, type IoTask, NEVER } from "../../bus/io-task.ts";

export class GuardedTask implements IoTask {
  readonly name: string;
  readonly bells: readonly (Bell | undefined)[];
  readonly polled: number;
  readonly #task: IoTask;
  readonly #failed: (error: unknown) => void;
  #isBroken = false;

  constructor(task: IoTask, failed: (error: unknown) => void) {
    this.#task = task;
    this.#failed = failed;
    this.name = task.name;
    this.bells = task.bells;
    this.polled = task.polled ?? 0;
  }

  get served(): number {
    return this.#isBroken ? 0 : (this.#task.served ?? 0);
  }

  connect(listener: BellListener): void {
    this.#task.connect?.(listener);
  }

  turn(bell: number, polls: boolean): number {
    return this.#guard(() => this.#task.turn(bell, polls), NEVER);
  }

  peek(bell: number): boolean {
    return this.#guard(() => this.#task.peek?.(bell) ?? false, false);
  }

  arm(bell: number): number {
    return this.#guard(() => this.#task.arm?.(bell) ?? NEVER, NEVER);
  }

  settle(): boolean {
    return this.#guard(() => this.#task.settle?.() ?? false, false);
  }

  quiesce(): void {
    this.#guard(() => this.#task.quiesce(), undefined);
  }

  resume(): void {
    this.#guard(() => this.#task.resume(), undefined);
  }

  /** An error is the answer. */
  order(order: unknown): unknown {
    return this.#task.order?.(order);
  }

  /** Always: it has files open. */
  close(): void {
    try {
      this.#task.close?.();
    } catch (error) {
      this.#failed(error);
    }
  }

  #guard<T>(what: () => T, otherwise: T): T {
    if (this.#isBroken) return otherwise;
    try {
      return what();
    } catch (error) {
      this.#isBroken = true;
      this.#failed(error);
      return otherwise;
    }
  }
}
