/**
 * The objects by which a program uses the parts of a machine: a stream, a drive, a
 * balloon. They outlive a reset: each power cycle connects each of them to the
 * part of its name.
 */
import type { ByteRing } from "../../base/ring.ts";

/** A part of the present power cycle, as its owner uses it. */
export interface PartHandle {
  /** Bytes that it sends; undefined if it sends none. */
  readonly ring: ByteRing | undefined;
  /** Takes a byte. False if it cannot now: `Outlet.ready` follows. Undefined if it takes none. */
  readonly receive: ((byte: number) => boolean) | undefined;
  /** A property of it. @throws {RangeError} if it has no such */
  get(property: string): number;
  set(property: string, value: number): void;
  /** Schedules its task on the io thread. */
  notify(): void;
}

export interface Outlet {
  /** A power cycle begins. */
  plug(part: PartHandle): void;
  /** Bytes of the part are waiting. */
  output?(): void;
  /** The part can take bytes again, or has news. */
  ready?(): void;
  /** The machine went back to a mark: the part is what it was then. */
  rewound?(): void;
  /** Takes all waiting bytes, whatever the reader does: the guest must not wait for it. */
  drain?(): void;
  /** The machine has ended. */
  finish?(): void;
}
