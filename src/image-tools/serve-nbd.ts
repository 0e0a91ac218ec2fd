/** An image, or a disk that a program provides, as an NBD export. */
import type { DiskSource } from "../disk/disk-source.ts";
import type { DiskImage } from "../disk/image.ts";
import { NbdServer, type ServeNbdOptions } from "../nbd/serve.ts";
import { ImageSource } from "./image-source.ts";

/**
 * Serves a disk to NBD clients until it is closed. The caller closes the disk.
 *
 * @throws {RangeError} for a disk or name that cannot be served; Node's error if the server cannot listen there
 */
export function serveNbd(disk: DiskSource | DiskImage, options: ServeNbdOptions = {}): Promise<NbdServer> {
  return NbdServer.listen("readv" in disk ? new ImageSource(disk) : disk, options);
}
