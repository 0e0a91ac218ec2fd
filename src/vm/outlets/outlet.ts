/**
 * What a machine has on its outside, and what outlives a reset: a stream, a drive,
 * a balloon's handle. Each is plugged into the part of its name in every power
 * cycle.
 */
import type { ByteRing } from "../../base/ring.ts";

/** A part of the present power cycle, from its owner's side. */
export interface PartHandle {
  /** Bytes that it sends; undefined if it sends none. */
  readonly ring: ByteRing | undefined;
  /** Takes a byte. False if it cannot now: `Outlet.ready` follows. Undefined if it takes none. */
  readonly receive: ((byte: number) => boolean) | undefined;
  /** A property of it. @throws {RangeError} if it has no such */
  get(property: string): number;
  set(property: string, value: number): void;
  /** Gives its task on the io thread a turn. */
  notify(): void;
}

export interface Outlet {
  /** A power cycle begins. */
  plug(part: PartHandle): void;
  /** Bytes of the part are waiting. */
  output?(): void;
  /** The part can take bytes again, or has news. */
  ready?(): void;
  /** Takes everything that waits, whatever its reader does: the guest must not wait for it. */
  drain?(): void;
  /** The machine has ended. */
  finish?(): void;
}
