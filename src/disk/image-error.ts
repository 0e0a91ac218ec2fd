/** An image cannot be used: its contents are invalid, or need something that is missing. */
export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly code = "EIMAGE";
  readonly path: string;

  /** @param why a sentence without its full stop, which follows the image's name */
  constructor(path: string, why: string) {
    super(`${path}: ${why}`);
    this.path = path;
  }
}

/** Another program uses the image. */
export class ImageInUseError extends ImageError {
  /** The lock, in QEMU's words: `"write" lock`, `shared "write" lock`. */
  readonly lock: string;

  constructor(path: string, lock: string, why: string) {
    super(path, why);
    this.lock = lock;
  }
}
