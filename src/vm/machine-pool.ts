/** Machines of one snapshot that wait to be taken, and are replaced behind the taker's back. */
import { setImmediate } from "node:timers/promises";
import { OptionError } from "../base/errors.ts";
import { type RestoreOptions, restoreVm } from "./restore-vm.ts";
import type { VirtualMachine } from "./virtual-machine.ts";
import { StateError } from "./vm-error.ts";

/** What a pool needs of its machines. */
export interface PooledMachine {
  readonly exited: Promise<unknown>;
  resume(): Promise<void>;
  close(): Promise<void>;
}

export interface PoolSettings<M> {
  /** Machines that wait. Default: 1. */
  readonly ready?: number;
  /** Machines at one time: those that wait, and those that were taken and have not ended. Default: any number. */
  readonly limit?: number;
  /** Called for each machine when it is taken, before it continues: it may write memory, or to a serial port. */
  readonly onTake?: (vm: M, n: number) => void | Promise<void>;
  /** Called when a machine that was to wait cannot be made. The next `take` that finds none tries again. */
  readonly onError?: (error: unknown) => void;
}

export interface PoolOptions extends PoolSettings<VirtualMachine> {
  /** The folder of a snapshot. */
  readonly snapshot: string;
  /** Options for restoreVm; of machine n, which counts from 0, if it is a function. */
  readonly restore?: RestoreOptions | ((n: number) => RestoreOptions);
}

interface Waiter<M> {
  resolve(made: Made<M>): void;
  reject(error: unknown): void;
}

interface Made<M> {
  readonly vm: M;
  readonly n: number;
}

/**
 * Makes a pool whose machines are all there.
 * @throws {OptionError} for numbers that cannot be; else as restoreVm
 */
export async function createPool(options: PoolOptions): Promise<MachinePool<VirtualMachine>> {
  const { snapshot, restore = {}, ...settings } = options;
  const make = (n: number) => restoreVm(snapshot, typeof restore === "function" ? restore(n) : restore);
  return MachinePool.filled(make, settings);
}

export class MachinePool<M extends PooledMachine> {
  readonly #make: (n: number) => Promise<M>;
  readonly #wanted: number;
  readonly #limit: number;
  readonly #settings: PoolSettings<M>;
  readonly #ready: Made<M>[] = [];
  /** Takers that found no machine, in their order. */
  readonly #waiting: Waiter<M>[] = [];
  /** Machines that were made, or are being made, and have not ended. */
  #alive = 0;
  #made = 0;
  #isMaking = false;
  #filling: Promise<void> | undefined;
  #closed = false;

  private constructor(make: (n: number) => Promise<M>, settings: PoolSettings<M>) {
    const { ready = 1, limit = Number.MAX_SAFE_INTEGER } = settings;
    this.#wanted = count("ready", ready, 0);
    this.#limit = count("limit", limit, 1);
    if (ready > limit)
      throw new OptionError(`createPool: ready: ${ready} machines are more than limit: ${limit}`);
    this.#make = make;
    this.#settings = settings;
  }

  static async filled<M extends PooledMachine>(
    make: (n: number) => Promise<M>,
    settings: PoolSettings<M>,
  ): Promise<MachinePool<M>> {
    let failure: { readonly error: unknown } | undefined;
    const onError = (error: unknown) => {
      if (isMade) settings.onError?.(error);
      else failure = { error };
    };
    let isMade = false;
    const pool = new MachinePool(make, { ...settings, onError });
    await pool.#fill();
    isMade = true;
    if (failure === undefined) return pool;
    await pool.close();
    throw failure.error;
  }

  /** How many machines wait. */
  get ready(): number {
    return this.#ready.length;
  }

  /** How many machines were taken and have not ended. */
  get taken(): number {
    return this.#alive - this.#ready.length - (this.#isMaking ? 1 : 0);
  }

  /**
   * Takes a machine, which runs. It is the taker's: to close it is his task. If
   * none waits, `take` waits for one to be made, or for one to end if there are as many as `limit`.
   *
   * @throws what restoreVm throws for a machine that cannot be made; {StateError} if the pool was closed
   */
  async take(): Promise<M> {
    if (this.#closed) throw new StateError("take(): the pool was closed");
    const { vm, n } = this.#ready.shift() ?? (await this.#next());
    void vm.exited.then(() => {
      this.#alive--;
      void this.#fill();
    });
    try {
      await this.#settings.onTake?.(vm, n);
      await vm.resume();
    } catch (error) {
      await vm.close();
      throw error;
    }
    void this.#fill();
    return vm;
  }

  /** Ends the machines that wait. Those that were taken continue. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#refuse(new StateError("take(): the pool was closed"));
    await this.#filling;
    await Promise.all(this.#ready.splice(0).map(({ vm }) => vm.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #next(): Promise<Made<M>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      void this.#fill();
    });
  }

  /** Makes what is missing. Settles when nothing is, or when a machine cannot be made. */
  #fill(): Promise<void> {
    this.#filling ??= this.#makeMissing();
    return this.#filling;
  }

  get #isMissing(): boolean {
    if (this.#closed || this.#alive >= this.#limit) return false;
    return this.#waiting.length > 0 || this.#ready.length < this.#wanted;
  }

  async #makeMissing(): Promise<void> {
    try {
      // Making one takes this thread some milliseconds: whoever just took one continues first.
      await setImmediate();
      while (this.#isMissing) {
        const made = await this.#makeOne();
        if (made === undefined) return;
        if (this.#closed) await made.vm.close();
        else this.#deliver(made);
        await setImmediate();
      }
    } finally {
      this.#filling = undefined;
    }
  }

  async #makeOne(): Promise<Made<M> | undefined> {
    const n = this.#made++;
    this.#alive++;
    this.#isMaking = true;
    try {
      return { vm: await this.#make(n), n };
    } catch (error) {
      this.#alive--;
      if (this.#waiting.length === 0) this.#settings.onError?.(error);
      else this.#refuse(error);
      return undefined;
    } finally {
      this.#isMaking = false;
    }
  }

  #deliver(made: Made<M>): void {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#ready.push(made);
    else waiter.resolve(made);
  }

  #refuse(error: unknown): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }
}

function count(name: string, given: number, least: number): number {
  if (Number.isSafeInteger(given) && given >= least) return given;
  throw new OptionError(`createPool: ${name}: ${given} is not a whole number from ${least} on`);
}
