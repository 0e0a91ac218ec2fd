/** Locks, as tests see them. */
import { Arena } from "../../src/base/arena.ts";
import type { Lock } from "../../src/base/lock.ts";

/** True while some thread has the lock. */
export function isHeld(lock: Lock): boolean {
  if (!lock.tryAcquire()) return true;
  lock.release();
  return false;
}

/** An arena that remembers the locks it gave out. */
export class LockArena extends Arena {
  readonly locks: Lock[] = [];

  override takeLock(owner: string): Lock {
    const lock = super.takeLock(owner);
    this.locks.push(lock);
    return lock;
  }
}
