/**
 * A connection that is made again when it is lost, if the caller allows time for it.
 *
 * Requests in flight are sent again, which is safe for every request of a disk. The
 * new connection must lead to the same disk. After a violation of the protocol, no new
 * connection is made. Writes that the old server acknowledged, and lost with its memory
 * before a flush, are lost: nobody can detect that.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { SourceExtent } from "../disk/disk-source.ts";
import type { NbdConnection } from "./connection.ts";
import { NbdError } from "./nbd-error.ts";
import type { NbdExport } from "./negotiate.ts";
import { FLAG_READ_ONLY } from "./protocol.ts";

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;

export interface Reconnection {
  /** For messages. */
  readonly where: string;
  /** How long requests wait for a lost connection; 0: it is not made again. */
  readonly patienceMs: number;
  connect(): Promise<NbdConnection>;
}

export class NbdLink {
  readonly facts: NbdExport;
  #connection: NbdConnection;
  readonly #again: Reconnection;
  /** The attempt that all requests wait for. */
  #attempt: Promise<void> | undefined;
  #closed = false;

  constructor(connection: NbdConnection, again: Reconnection) {
    this.facts = connection.facts;
    this.#connection = connection;
    this.#again = again;
  }

  /** Names the server in messages. */
  get where(): string {
    return this.#again.where;
  }

  /** As in NbdConnection. */
  async request(
    command: number,
    flags: number,
    offset: number,
    length: number,
    views: readonly Uint8Array[] = [],
  ): Promise<SourceExtent | undefined> {
    for (;;) {
      const connection = this.#connection;
      try {
        return await connection.request(command, flags, offset, length, views);
      } catch (error) {
        if (!this.#isWorthAnother(connection)) throw error;
        await this.#reconnected(connection);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#attempt?.catch(() => {});
    await this.#connection.close();
  }

  #isWorthAnother({ failure }: NbdConnection): boolean {
    const isLost = failure !== undefined && failure.code !== "EPROTO";
    return isLost && !this.#closed && this.#again.patienceMs > 0;
  }

  async #reconnected(lost: NbdConnection): Promise<void> {
    if (this.#connection !== lost) return;
    this.#attempt ??= this.#reconnect(performance.now() + this.#again.patienceMs).finally(() => {
      this.#attempt = undefined;
    });
    await this.#attempt;
  }

  async #reconnect(deadline: number): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        const next = await this.#again.connect();
        if (!this.#closed && isSameDisk(next.facts, this.facts)) {
          this.#connection = next;
          return;
        }
        await next.close();
        throw new NbdError(this.where, "it came back with another disk");
      } catch (error) {
        const left = deadline - performance.now();
        if (this.#closed || left <= 0) throw error;
        await sleep(Math.min(pause, left));
      }
    }
  }
}

/** Whether requests for one export may be sent to the other. */
function isSameDisk(now: NbdExport, before: NbdExport): boolean {
  return (
    now.size === before.size &&
    (now.flags & FLAG_READ_ONLY) === (before.flags & FLAG_READ_ONLY) &&
    (now.flags & before.flags) === before.flags &&
    now.minimumBlock <= before.minimumBlock &&
    now.maximumPayload >= before.maximumPayload &&
    (before.allocationId === undefined || now.allocationId !== undefined)
  );
}
