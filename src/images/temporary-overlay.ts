/**
 * The destination of a guest's writes to a disk that must not change: a qcow2 image
 * without a name, which vanishes with the program.
 */
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createQcow2 } from "./qcow2/create.ts";

export class TemporaryOverlay {
  /** The path by which any thread of this process opens it. */
  readonly path: string;
  readonly #fd: number;

  /**
   * @param size bytes of the disk under it
   * @throws {SystemError} if the folder for temporary files cannot be written
   */
  constructor(size: number) {
    const folder = mkdtempSync(join(process.env.TMPDIR ?? "/var/tmp", "vmexit-"));
    try {
      const file = join(folder, "overlay.qcow2");
      createQcow2(file, { size });
      this.#fd = openSync(file, "r+");
      this.path = `/proc/self/fd/${this.#fd}`;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
