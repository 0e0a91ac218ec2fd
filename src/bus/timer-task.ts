/**
 * A timer for a chip: a task of the io thread that calls it when the chip's
 * registers say that something happens next. The chip has a wire of the board to
 * wake that thread when a guest's write brings the time forward; see
 * `Ports.notify`. A chip that waits for nothing costs no wakes.
 */
import type { Lock } from "../base/lock.ts";
import type { IoTask } from "./io-task.ts";

/** A chip that does things by itself as time passes. */
export interface TimedChip {
  /**
   * Does what is due by now.
   * @returns ms, not 0, after which it wants to be called again; NEVER (see io-task.ts)
   */
  advance(): number;
}

/** @param name the part's; @param lock the chip's */
export function timerTask(name: string, chip: TimedChip, lock: Lock): IoTask<never, never> {
  return {
    name,
    bells: [undefined],
    turn() {
      lock.acquire();
      try {
        return chip.advance();
      } finally {
        lock.release();
      }
    },
    quiesce() {},
    resume() {},
  };
}
