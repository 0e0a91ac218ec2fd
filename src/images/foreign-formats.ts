/**
 * Formats that are recognised to be refused by name. As raw disks, their tables would
 * be read and overwritten by a guest.
 *
 * Sources: QEMU docs/interop/qed_spec.txt, docs/interop/parallels.txt, block/qcow.c,
 * block/bochs.c, block/cloop.c, block/vmdk.c; LUKS On-Disk Format Specification, magic.
 * dmg: the trailer "koly" of a UDIF image.
 */
import { ImageError } from "../disk/image-error.ts";
import type { HostFile } from "../sys/file.ts";

/** Names, and what files begin with, a character for each byte. */
const BEGINNINGS: readonly (readonly [name: string, bytes: string])[] = [
  ["QED", "QED\0"],
  ["qcow (version 1)", "QFI\xfb\0\0\0\x01"],
  ["LUKS", "LUKS\xba\xbe"],
  ["Parallels", "WithoutFreeSpace"],
  ["Parallels", "WithouFreSpacExt"],
  ["Bochs", "Bochs Virtual HD Image"],
  ["cloop", "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"],
  ["VMDK (seSparse)", "\xbe\xba\xfe\xca\0\0\0\0"],
];

const DMG = "dmg";
const TRAILER_BYTES = 512;
/** "koly", version 4, a trailer of 512 bytes. */
const DMG_TRAILER = "koly\0\0\0\x04\0\0\x02\0";

/** An image of a format that is known by name only. */
export class ForeignFormatError extends ImageError {
  /** Its usual name: "QED". */
  readonly format: string;

  constructor(path: string, format: string) {
    super(
      path,
      `it is a ${format} image, a format that is not supported; convert it with qemu-img, or name the format raw to use its bytes as they are`,
    );
    this.format = format;
  }
}

/** The name of the unsupported format that a file has. @throws {SystemError} if it cannot be read */
export function foreignFormat(file: HostFile): string | undefined {
  const head = textAt(file, 0, 64);
  const found = BEGINNINGS.find(([, bytes]) => head.startsWith(bytes));
  if (found !== undefined) return found[0];
  const { size } = file;
  if (size < TRAILER_BYTES || file.isBlockDevice) return undefined;
  return textAt(file, size - TRAILER_BYTES, DMG_TRAILER.length) === DMG_TRAILER ? DMG : undefined;
}

function textAt(file: HostFile, offset: number, length: number): string {
  const bytes = new Uint8Array(length);
  return String.fromCharCode(...bytes.subarray(0, file.read(bytes, offset)));
}
