/**
 * What a machine can be saved as: a snapshot in a folder, a mark in this process.
 * The modules that do it are loaded at their first use, because most machines
 * start and end without.
 */
import type { Drives } from "./drives.ts";
import type { Mark } from "./mark.ts";
import type { PowerCycle } from "./power-cycle.ts";
import type { SnapshotOptions, SnapshotReport, Written } from "./save-machine.ts";
import type { CheckedOptions } from "./validate.ts";
import { StateError } from "./vm-error.ts";

/** A machine that went back to its mark. */
export interface RewindReport {
  /** Pages of RAM that were written since the mark. */
  readonly pages: number;
  /** How long the machine was paused for it. */
  readonly pauseMs: number;
}

/**
 * Does something with a machine while nothing in it moves. If it ran, it continues then.
 * @param prepare is called before the pause, while the machine may run, and returns what to do in it
 */
export type StandStill = <T>(
  doing: string,
  prepare: (cycle: PowerCycle) => Promise<(cycle: PowerCycle) => Promise<T>>,
) => Promise<{ readonly result: T; readonly wasRunning: boolean; readonly pauseMs: number }>;

export class Saves {
  readonly #options: CheckedOptions;
  readonly #drives: Drives;
  readonly #standStill: StandStill;
  /** Of the present power cycle. */
  #mark: Mark | undefined;
  #written: Written | undefined;

  constructor(options: CheckedOptions, drives: Drives, standStill: StandStill) {
    this.#options = options;
    this.#drives = drives;
    this.#standStill = standStill;
  }

  async snapshot({ dir, stop = true, diff = false }: SnapshotOptions): Promise<SnapshotReport> {
    const name = nameInDisks(dir);
    if (name !== undefined) {
      if (!stop || diff) throw new StateError(`snapshot(): ${dir}: stop: false and diff: true need a folder`);
      const { result, pauseMs } = await this.#standStill("snapshot", async () => {
        const { saveInDisks } = await import("./disk-snapshots.ts");
        return (cycle) => saveInDisks(cycle, this.#options, this.#drives, name);
      });
      return { ...result, pauseMs };
    }
    let abandon = () => {};
    try {
      const { result: save, pauseMs } = await this.#standStill("snapshot", async (cycle) => {
        const { MachineSave, Written } = await import("./save-machine.ts");
        if (diff) this.#written ??= new Written(cycle);
        const since = diff ? this.#written : undefined;
        const save = new MachineSave(cycle, this.#options, this.#drives, dir, since);
        const own = stop || diff ? undefined : new Written(cycle); // for this snapshot alone
        abandon = () => {
          if (!cycle.isCut) own?.close();
          save.abandon();
        };
        const meanwhile = stop ? undefined : (own ?? since);
        if (meanwhile !== undefined) await save.copyMeanwhile(meanwhile);
        return async () => {
          await save.copyRest(meanwhile);
          own?.close();
          return save;
        };
      });
      return { ...(await save.commit()), pauseMs };
    } catch (error) {
      abandon();
      throw error;
    }
  }

  async mark(): Promise<void> {
    await this.#standStill("mark", async () => {
      const { Mark } = await import("./mark.ts");
      return async (cycle) => {
        this.dropMark();
        this.#mark = await Mark.make(cycle, this.#options, this.#drives);
      };
    });
  }

  async rewind(): Promise<RewindReport> {
    const { result: pages, pauseMs } = await this.#standStill("rewind", async () => {
      const mark = this.#mark;
      if (mark !== undefined) return () => mark.rewind();
      throw new StateError(`rewind(): ${this.#options.name} has no mark; a reset drops it`);
    });
    return { pages, pauseMs };
  }

  /** There is something that the machine cannot go back to, such as a medium that was taken out. */
  dropMark(): void {
    this.#mark?.close();
    this.#mark = undefined;
  }

  /** The power cycle has ended. */
  release(): void {
    this.#mark?.release();
    this.#mark = undefined;
    this.#written = undefined;
  }
}

/** Of "disk:NAME": a snapshot in the images of the drives. Undefined for a folder; "./disk:NAME" is one. */
export function nameInDisks(place: string): string | undefined {
  return /^disk:(.+)$/s.exec(place)?.[1];
}
