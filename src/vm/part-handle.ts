/** A part of a power cycle, as its owner uses it: each call takes the part's lock. */

import type { Lock } from "../base/lock.ts";
import type { ByteRing } from "../base/ring.ts";
import type { PartOf } from "../machine/machine.ts";
import type { Property } from "../virtio/device.ts";
import type { PartHandle } from "./outlets/outlet.ts";

/** How long to wait for a part that is busy: the vCPU that reported room may still hold its lock. */
const LOCK_MS = 0.5;
/** When to try again after that. */
const RETRY_MS = 1;

export interface PartHandleParts {
  readonly part: PartOf;
  readonly ring: ByteRing | undefined;
  notify(): void;
  /** Called when the part may be tried again. */
  ready(): void;
}

export function partHandle({ part, ring, notify, ready }: PartHandleParts): PartHandle {
  const { name, made } = part;
  const { lock, receive } = made;
  const property = (key: string): Property => {
    const found = made.properties?.[key];
    if (found === undefined) throw new RangeError(`${name} has no property "${key}"`);
    return found;
  };
  return {
    ring,
    notify,
    receive:
      receive &&
      ((byte) => {
        // Never wait for long here: a vCPU may hold this lock until the program has read what the guest printed.
        if (!lock.tryAcquire(LOCK_MS)) {
          setTimeout(ready, RETRY_MS);
          return false;
        }
        return released(lock, () => receive(byte));
      }),
    get(key) {
      const { get } = property(key);
      lock.acquire();
      return released(lock, get);
    },
    set(key, value) {
      const { set } = property(key);
      if (set === undefined) throw new RangeError(`the property "${key}" of ${name} cannot be set`);
      lock.acquire();
      released(lock, () => set(value));
    },
  };
}

/** Calls `work` with the lock that the caller has taken, and releases the lock. */
function released<T>(lock: Lock, work: () => T): T {
  try {
    return work();
  } finally {
    lock.release();
  }
}
