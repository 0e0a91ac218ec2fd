/** Locks, as tests see them. */
import type { Lock } from "../../src/base/lock.ts";

/** True while some thread has the lock. */
export function isHeld(lock: Lock): boolean {
  if (!lock.tryAcquire()) return true;
  lock.release();
  return false;
}
