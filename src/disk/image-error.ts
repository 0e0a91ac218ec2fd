/** An image that cannot be used as it is, and why: its own contents are wrong, or ask for what is not there. */
export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly code = "EIMAGE";
  readonly path: string;

  /** @param why a sentence without its full stop, that goes on after the image's name */
  constructor(path: string, why: string) {
    super(`${path}: ${why}`);
    this.path = path;
  }
}

/** An image that somebody else uses. */
export class ImageInUseError extends ImageError {
  /** What could not be locked, as QEMU calls it: `"write" lock`, `shared "write" lock`. */
  readonly lock: string;

  constructor(path: string, lock: string, why: string) {
    super(path, why);
    this.lock = lock;
  }
}
