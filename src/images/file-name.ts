/**
 * Names of disks, as QEMU reads them: the text before a colon that comes before any
 * slash is a protocol. `file:` is removed, `nbd:` and similar are NBD servers, and
 * others are refused by name. A file whose own name has such a colon is `./a:b` or
 * `file:a:b`.
 *
 * Source: QEMU block.c (path_has_protocol, path_combine, bdrv_find_protocol) and
 * block/file-posix.c (raw_parse_filename). As there, a relative name behind `file:`
 * counts from the process's folder, also where an image names it.
 */
import { statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { ImageError } from "../disk/image-error.ts";
import { isNbdName } from "../nbd/address.ts";
import { hostPath } from "../sys/host-path.ts";

const FILE = "file:";
const HOST_DEVICE = "host_device:";
/** Protocols of QEMU 11.1 that are not supported; `json:` describes a disk as an object. */
const OTHER_PROTOCOLS =
  /^(json|https?|ftps?|ssh|iscsi|iser|rbd|nfs|gluster(\+\w+)?|fat|blkdebug|blkverify|nvme|null-co|null-aio|host_cdrom):/;

/** True if the name has a protocol. */
export function hasProtocol(name: string): boolean {
  return /^[^/:]*:/.test(name);
}

/** A name that means this file, also if its path has a colon. */
export function nameOfFile(path: string): string {
  return hasProtocol(path) ? `./${path}` : path;
}

/** The path of the file that a name means. @throws {ImageError} if it means no file */
export function fileNamed(name: string): string {
  const refuse = (why: string): never => {
    throw new ImageError(name, why);
  };
  if (name === "" || name === FILE) refuse("The 'file' block driver requires a file name");
  if (!hasProtocol(name)) return name;
  if (name.startsWith(FILE)) return nameOfFile(name.slice(FILE.length));
  if (name.startsWith(HOST_DEVICE)) {
    const path = nameOfFile(name.slice(HOST_DEVICE.length));
    if (isDevice(path)) return path;
    return refuse(`'host_device' driver requires '${path}' to be a block device`);
  }
  const protocol = name.slice(0, name.indexOf(":"));
  if (isNbdName(name)) return refuse("it is behind an NBD server, and not a file");
  if (OTHER_PROTOCOLS.test(name)) {
    return refuse(
      `names of the form ${protocol}: are not supported; only files and NBD servers (nbd://…) are`,
    );
  }
  return refuse(`Unknown protocol '${protocol}'; a file of that name is './${name}'`);
}

/**
 * The path of a file that an image names: relative to the image's own folder, unless it
 * is absolute or has a protocol.
 * @throws {ImageError} if it is not the name of a file
 */
export function fileNamedIn(image: string, name: string): string {
  if (hasProtocol(name)) return fileNamed(name);
  return isAbsolute(name) ? name : join(dirname(image), name);
}

function isDevice(path: string): boolean {
  try {
    return statSync(hostPath(path)).isBlockDevice();
  } catch {
    return false;
  }
}
