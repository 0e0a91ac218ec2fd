/**
 * Interrupt lines between chips and whatever injects them into the guest.
 */
import { layout, type View } from "../base/layout.ts";
import type { IrqLine } from "./io.ts";

/** Sets the level of one input of the interrupt controllers. */
export type DriveIrq = (gsi: number, asserted: boolean) => void;

export const LevelLineState = layout("irq-line", 1, { asserted: "u8" });

/**
 * A level-triggered line. It remembers its level in shared memory, so that a
 * chip may set it after every access and only changes cost a system call.
 * Belongs to one chip and is set under that chip's lock.
 */
export class LevelLine implements IrqLine {
  readonly #regs: View<{ asserted: "u8" }>;
  readonly #gsi: number;
  readonly #drive: DriveIrq;

  constructor(regs: View<{ asserted: "u8" }>, gsi: number, drive: DriveIrq) {
    this.#regs = regs;
    this.#gsi = gsi;
    this.#drive = drive;
  }

  set(asserted: boolean): void {
    const level = asserted ? 1 : 0;
    if (this.#regs.asserted === level) return;
    this.#regs.asserted = level;
    this.#drive(this.#gsi, asserted);
  }

  /** Lowers the input of a line that is asserted: its register is replaced next, and may say otherwise. */
  lower(): void {
    if (this.#regs.asserted !== 0) this.#drive(this.#gsi, false);
  }

  /** Drives the input again if the line is asserted: the interrupt controllers are new, the registers are not. */
  drive(): void {
    if (this.#regs.asserted !== 0) this.#drive(this.#gsi, true);
  }
}
