/** The line that `-p` shows: "    (42.00/100%)", repeated in place. */

import type { TextOutput } from "./command.ts";
import { flag } from "./options.ts";
import { fixed } from "./sizes.ts";

/** Per cent between two updates. */
const STEP = 2;

export const PROGRESS = { progress: flag(["p", "progress"], "print how far the command is") };

export class Progress {
  readonly #stream: TextOutput | undefined;
  #shown = -STEP;

  /** @param stream undefined prints nothing */
  constructor(stream: TextOutput | undefined) {
    this.#stream = stream;
    this.show(0);
  }

  /** @param part of the work that is done, 0 to 1 */
  show(part: number): void {
    const percent = part * 100;
    if (percent - this.#shown < STEP && percent < 100) return;
    this.#shown = percent;
    this.#stream?.write(`    (${fixed(percent, 2)}/100%)\r`);
  }

  end(): void {
    this.show(1);
    this.leave();
  }

  /** Ends the line where it is. */
  leave(): void {
    this.#stream?.write("\n");
  }
}
