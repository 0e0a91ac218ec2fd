/** Saves the machine of `vmexit run`: when the user asks for it, or when the guest has printed a text. */
import { existsSync } from "node:fs";
import type { DriveOptions } from "../../config/devices/virtio-blk.ts";
import { FAILED, OK, type Outcome } from "../exit-status.ts";
import { sizeText } from "../img/sizes.ts";
import { localTime } from "../local-time.ts";
import type { SaveRequest } from "./request.ts";

/** What is needed of a machine to save it. */
export interface SavableMachine {
  readonly name: string;
  readonly state: string;
  pause(): Promise<void>;
  snapshot(options: { dir: string }): Promise<{
    readonly dir: string;
    readonly ramBytes: number;
    readonly pauseMs: number;
  }>;
}

export interface ConsoleText {
  waitFor(text: string, options: { timeoutMs: number }): Promise<unknown>;
}

/** Ctrl-A s. */
export class SaveKey {
  readonly #machine: SavableMachine;
  readonly #drives: readonly DriveOptions[];
  readonly #place: string | undefined;
  readonly #notice: (text: string) => void;
  #busy = false;

  /** @param place the folder; undefined for a new one each time */
  constructor(
    machine: SavableMachine,
    drives: readonly DriveOptions[],
    place: string | undefined,
    notice: (text: string) => void,
  ) {
    this.#machine = machine;
    this.#drives = drives;
    this.#place = place;
    this.#notice = notice;
  }

  /** Never rejects: what fails is printed, and the machine continues. */
  async press(): Promise<void> {
    if (this.#busy) return this.#notice("\nvmexit: the machine is being saved\n");
    this.#busy = true;
    try {
      await this.#save();
    } catch (error) {
      this.#notice(`\nvmexit: ${error instanceof Error ? error.message : error}\n`);
    } finally {
      this.#busy = false;
    }
  }

  /**
   * A guest that writes to the file of a drive would make it differ from what the
   * snapshot remembers. So it stays paused, and the user decides.
   */
  async #save(): Promise<void> {
    const machine = this.#machine;
    const isInDisks = this.#place?.startsWith("disk:") === true; // with what the guest wrote to them
    const written = isInDisks ? undefined : this.#drives.find(writesToItsFile);
    if (written !== undefined && machine.state === "running") await machine.pause();
    const dir = this.#place ?? newPlace(machine.name, new Date());
    const saved = await machine.snapshot({ dir });
    this.#notice(`\nvmexit: ${savedText(saved)}\n`);
    if (written === undefined) return;
    this.#notice(
      `vmexit: the machine is paused: the snapshot fits ${written.file} only until the guest writes again. Ctrl-A x ends the machine, Ctrl-A r resumes it. With -snapshot the guest's writes are in the snapshot\n`,
    );
  }
}

/** Waits for the text and saves the machine. @returns how the command ends; never rejects */
export async function saveOnce(
  machine: SavableMachine,
  console: ConsoleText,
  { dir, until, timeoutMs }: SaveRequest,
): Promise<[Outcome, string]> {
  try {
    await console.waitFor(until, { timeoutMs });
    // Stays paused: its end follows.
    await machine.pause();
    return [OK, savedText(await machine.snapshot({ dir }))];
  } catch (error) {
    return [FAILED, error instanceof Error ? error.message : String(error)];
  }
}

function writesToItsFile({ file, readOnly, snapshot }: DriveOptions): boolean {
  return file !== undefined && readOnly !== true && snapshot !== true;
}

function savedText({ dir, ramBytes, pauseMs }: { dir: string; ramBytes: number; pauseMs: number }): string {
  return `saved in ${dir} (${sizeText(ramBytes)} of RAM, paused for ${pauseMs.toFixed()} ms)`;
}

/** "web-20261130-134512", where nothing is yet. */
function newPlace(name: string, now: Date): string {
  const time = localTime(now).replace(/[-:]/g, "").replace(" ", "-");
  const place = `${name.replace(/[^\w.-]/g, "_").replace(/^\./, "_")}-${time}`;
  for (let n = 1; ; n++) {
    const tried = n === 1 ? place : `${place}-${n}`;
    if (!existsSync(tried)) return tried;
  }
}
