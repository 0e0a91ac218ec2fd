/** A snapshot that cannot be used, or made, and why. */
export class SnapshotError extends Error {
  override readonly name = "SnapshotError";
  readonly code = "ESNAPSHOT";
  /** The file or folder concerned. */
  readonly path: string;

  constructor(path: string, message: string) {
    super(`${path}: ${message}`);
    this.path = path;
  }
}
