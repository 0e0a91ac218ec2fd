/** A part of a power cycle, from its owner's side: each call takes the part's lock. */

import type { Lock } from "../base/lock.ts";
import type { ByteRing } from "../base/ring.ts";
import type { PartOf } from "../machine/machine.ts";
import type { Property } from "../virtio/device.ts";
import type { PartHandle } from "./outlets/outlet.ts";

/** How long a part that is busy is waited for: the vCPU that says there is room may still hold its lock. */
const LOCK_MS = 0.5;
/** When it is asked again after that. */
const RETRY_MS = 1;

export interface PartHandleParts {
  readonly part: PartOf;
  readonly ring: ByteRing | undefined;
  notify(): void;
  /** Says that the part may be asked again. */
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
        // A vCPU may hold this lock until the program has read what its guest printed: never wait for long here.
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

/** Does it, with the lock that the caller has taken, and releases that. */
function released<T>(lock: Lock, work: () => T): T {
  try {
    return work();
  } finally {
    lock.release();
  }
}
