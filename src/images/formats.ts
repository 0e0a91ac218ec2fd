/** The formats of image files, by the names that qemu-img gives them. */

/** Formats that are written. */
const WRITABLE_FORMATS = ["raw", "qcow2"] as const;
/** Formats of other programs, which are only read. "vpc" is VHD, named after its first program. */
export const READ_ONLY_FORMATS = ["vmdk", "vpc", "vhdx", "vdi"] as const;
export const IMAGE_FORMATS = [...WRITABLE_FORMATS, ...READ_ONLY_FORMATS] as const;

export type WritableFormat = (typeof WRITABLE_FORMATS)[number];
export type ReadOnlyFormat = (typeof READ_ONLY_FORMATS)[number];
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

export function isReadOnlyFormat(format: string): format is ReadOnlyFormat {
  return READ_ONLY_FORMATS.some((name) => name === format);
}

export function isWritableFormat(format: string): format is WritableFormat {
  return WRITABLE_FORMATS.some((name) => name === format);
}
