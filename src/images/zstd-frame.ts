/**
 * The length of a Zstandard frame. An image says only in which sector compressed data
 * ends; bytes after the frame are not part of it.
 *
 * Source: RFC 8878, 3.1.1 (Zstandard Frames) and 3.1.2 (Skippable Frames).
 */
const MAGIC = 0xfd2f_b528;
/** The upper 28 bits of a skippable frame's magic number. */
const SKIPPABLE_MAGIC = 0x184d_2a5;

// Frame_Header_Descriptor
const SINGLE_SEGMENT = 0x20;
const CONTENT_CHECKSUM = 0x04;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const FRAME_CONTENT_SIZE_BYTES = [0, 2, 4, 8];

// Block_Header
const BLOCK_HEADER_BYTES = 3;
const LAST_BLOCK = 1;
const RLE_BLOCK = 1;

const CHECKSUM_BYTES = 4;

/** Bytes of the frame that begins at `start`; undefined if none does, or it does not end within `data`. */
export function zstdFrameLength(data: Uint8Array, start: number): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (start + 8 > data.length) return undefined;
  const magic = view.getUint32(start, true);
  if (magic >>> 4 === SKIPPABLE_MAGIC) {
    const length = 8 + view.getUint32(start + 4, true);
    return start + length <= data.length ? length : undefined;
  }
  if (magic !== MAGIC) return undefined;
  const descriptor = view.getUint8(start + 4);
  const single = (descriptor & SINGLE_SEGMENT) !== 0;
  const sizeBytes = FRAME_CONTENT_SIZE_BYTES[descriptor >> 6];
  let at = start + 5 + DICTIONARY_ID_BYTES[descriptor & 3];
  // Either a window is described, or the content's size takes a byte at least.
  at += single ? Math.max(1, sizeBytes) : 1 + sizeBytes;
  for (let last = false; !last; ) {
    if (at + BLOCK_HEADER_BYTES > data.length) return undefined;
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    last = (header & LAST_BLOCK) !== 0;
    const isRle = ((header >> 1) & 3) === RLE_BLOCK;
    at += BLOCK_HEADER_BYTES + (isRle ? 1 : header >> 3);
  }
  if ((descriptor & CONTENT_CHECKSUM) !== 0) at += CHECKSUM_BYTES;
  return at <= data.length ? at - start : undefined;
}
