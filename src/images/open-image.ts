/** Opens an image of any format that is supported: the one place for programs that know which formats there are. */

import { ImageError } from "../disk/image-error.ts";
import { isNbdName } from "../nbd/address.ts";
import { RemoteDisk } from "../nbd/remote-disk.ts";
import { HostFile } from "../sys/file.ts";
import { lockImage } from "./file-lock.ts";
import { fileNamed } from "./file-name.ts";
import { ForeignFormatError, foreignFormat } from "./foreign-formats.ts";
import { type ImageFormat, isReadOnlyFormat } from "./formats.ts";
import { openReadOnly, probeReadOnly } from "./open-read-only.ts";
import type { Qcow2Image } from "./qcow2/image.ts";
import { looksLikeQcow2, openQcow2, type Qcow2Options } from "./qcow2/open.ts";
import { RawDisk } from "./raw-disk.ts";
import type { ReadOnlyImage } from "./read-only-image.ts";

export type OpenedImage = Qcow2Image | RawDisk | ReadOnlyImage | RemoteDisk;

export interface OpenImageOptions extends Qcow2Options {
  /**
   * Without it the file's first bytes decide. Name it for a disk that a guest has
   * written: what the guest puts there can look like any format.
   */
  readonly format?: ImageFormat;
}

/**
 * What a file begins as; "raw" if as nothing known.
 * @throws {ForeignFormatError} for a format that is only known by name; {SystemError} if it cannot be read
 */
export function probeFormat(name: string): ImageFormat {
  const path = fileNamed(name);
  using file = HostFile.open(path, { readOnly: true });
  if (looksLikeQcow2(file)) return "qcow2";
  const found = probeReadOnly(file);
  if (found !== undefined) return found;
  const foreign = foreignFormat(file);
  if (foreign !== undefined) throw new ForeignFormatError(path, foreign);
  return "raw";
}

/**
 * Opens an image and the files that it depends on, and locks them; or a disk
 * behind an NBD server (nbd://…), which is raw. file-name.ts says what a name means.
 *
 * @throws {ImageError} if it cannot be used, or somebody else uses it; if it is to
 *   be written and its format is only read
 * @throws {SystemError} if a file cannot be opened or read
 */
export function openImage(name: string, options: OpenImageOptions = {}): OpenedImage {
  if (isNbdName(name)) return openRemote(name, options);
  const path = fileNamed(name);
  const { format = probeFormat(path), readOnly = false, lock = true, direct, durable, files } = options;
  if (format === "qcow2") return openQcow2(path, options);
  if (isReadOnlyFormat(format)) return openReadOnly(path, format, { ...options, readOnly, lock });
  const raw = RawDisk.open(path, { readOnly, direct, durable, files });
  if (!lock) return raw;
  try {
    lockImage(raw.file, "raw");
    return raw;
  } catch (error) {
    raw.close();
    throw error;
  }
}

function openRemote(name: string, { format = "raw", readOnly = false }: OpenImageOptions): RemoteDisk {
  if (format !== "raw") {
    throw new ImageError(
      name,
      `behind an NBD server only raw disks are read; let the server open the ${format} image`,
    );
  }
  return RemoteDisk.open(name, { readOnly });
}
