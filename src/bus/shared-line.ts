/**
 * A level-triggered interrupt line that several chips share, as PCI's INTx lines
 * are: the line is asserted while any of them asserts it.
 *
 * Lock order: each chip sets its source under its own lock; the line's lock is
 * taken under that one, and nothing else is taken under the line's.
 *
 * Source: PCI Local Bus 3.0, 2.2.6 (Interrupt Pins): level-sensitive, open drain.
 */
import { layout, type View } from "../base/layout.ts";
import type { Lock } from "../base/lock.ts";
import type { IrqLine } from "./io.ts";
import type { DriveIrq } from "./irq.ts";

export const SharedLineState = layout("shared-irq-line", 1, {
  asserting: "u32", // sources that assert the line
});

export class SharedLine {
  readonly #regs: View<{ asserting: "u32" }>;
  readonly #lock: Lock;
  readonly #gsi: number;
  readonly #drive: DriveIrq;

  constructor(regs: View<{ asserting: "u32" }>, lock: Lock, gsi: number, drive: DriveIrq) {
    this.#regs = regs;
    this.#lock = lock;
    this.#gsi = gsi;
    this.#drive = drive;
  }

  /** One chip's connection. @param regs LevelLineState of the chip's own, set under the chip's lock */
  source(regs: View<{ asserted: "u8" }>): IrqLine {
    return {
      set: (asserted) => {
        const level = asserted ? 1 : 0;
        if (regs.asserted === level) return;
        regs.asserted = level;
        this.#count(asserted);
      },
    };
  }

  /** As LevelLine.lower. */
  lower(): void {
    if (this.#regs.asserting !== 0) this.#drive(this.#gsi, false);
  }

  /** As LevelLine.drive. */
  drive(): void {
    if (this.#regs.asserting !== 0) this.#drive(this.#gsi, true);
  }

  /** The line is driven under the lock, so that levels reach the interrupt controllers in the order of the counts. */
  #count(asserted: boolean): void {
    const regs = this.#regs;
    this.#lock.acquire();
    try {
      regs.asserting += asserted ? 1 : -1;
      const changed = asserted ? regs.asserting === 1 : regs.asserting === 0;
      if (changed) this.#drive(this.#gsi, asserted);
    } finally {
      this.#lock.release();
    }
  }
}
