/** An IDE controller as a task of the io thread: a bell for each drive's storage. */
import type { Lock } from "../base/lock.ts";
import { type Bell, type IoTask, NEVER } from "../bus/io-task.ts";
import type { Channel } from "./channel.ts";
import type { DriveRequests } from "./drive-requests.ts";

export interface IdeTaskParts {
  readonly name: string;
  readonly lock: Lock;
  readonly channels: readonly Channel[];
  readonly drives: readonly DriveRequests[];
  /** By drive. */
  readonly bells: readonly Bell[];
  close(): void;
}

export class IdeTask implements IoTask {
  readonly name: string;
  readonly bells: readonly Bell[];
  readonly #parts: IdeTaskParts;

  constructor(parts: IdeTaskParts) {
    this.name = parts.name;
    this.bells = parts.bells;
    this.#parts = parts;
  }

  turn(bell: number): number {
    return this.#parts.drives[bell]?.turn() ?? NEVER;
  }

  /** A vCPU that reset a channel, or stopped its bus master, waits until nothing of it is in flight. */
  settle(): boolean {
    let settled = false;
    for (const channel of this.#parts.channels) {
      if (!this.#takeWaited(channel)) continue;
      for (const requests of this.#parts.drives) {
        if (requests.io.channel === channel) requests.drain();
      }
      settled = true;
    }
    return settled;
  }

  quiesce(): void {
    for (const requests of this.#parts.drives) requests.drain();
  }

  resume(): void {
    for (const requests of this.#parts.drives) requests.resume();
  }

  close(): void {
    this.#parts.close();
  }

  #takeWaited(channel: Channel): boolean {
    if (channel.regs.waited === 0) return false;
    const { lock } = this.#parts;
    lock.acquire();
    channel.regs.waited = 0;
    lock.release();
    return true;
  }
}
