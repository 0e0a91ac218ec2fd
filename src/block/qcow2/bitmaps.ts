/**
 * Persistent dirty bitmaps: which clusters of the file they occupy. Their
 * contents are left to programs that keep them.
 *
 * Source: QEMU docs/interop/qcow2.txt, Bitmaps extension and Bitmaps.
 */
import type { HostFile } from "../../sys/file.ts";
import { ImageError } from "../image-error.ts";
import { AUTOCLEAR_BITMAPS } from "./features.ts";
import { getUint64, type Header, MAX_L1_BYTES } from "./header.ts";
import { PointerTable } from "./pointer-table.ts";

const EXTENSION_BYTES = 24;
const ENTRY_BYTES = 24;
const MAX_BITMAPS = 65535;
const MAX_DIRECTORY_BYTES = 2 ** 26;

/**
 * Calls `use` for each run of the file that bitmaps occupy.
 * @throws {ImageError} if the directory makes no sense; {SystemError}
 */
export function bitmapRuns(
  file: HostFile,
  header: Header,
  use: (offset: number, length: number) => void,
): void {
  const { bitmaps } = header;
  if ((header.autoclear & AUTOCLEAR_BITMAPS) === 0n) return;
  const wrong = (why: string) => new ImageError(file.path, `its bitmap directory ${why}`);
  if (bitmaps === undefined || bitmaps.length < EXTENSION_BYTES) throw wrong("is not there");
  const extension = new DataView(bitmaps.buffer, bitmaps.byteOffset, bitmaps.byteLength);
  const count = extension.getUint32(0);
  const length = getUint64(extension, 8);
  const offset = getUint64(extension, 16);
  if (count > MAX_BITMAPS || length > MAX_DIRECTORY_BYTES || offset + length > file.size) {
    throw wrong(`of ${count} bitmaps cannot be at offset ${offset}`);
  }
  use(offset, length);
  const directory = new Uint8Array(length);
  file.read(directory, offset);
  const view = new DataView(directory.buffer);
  const clusterSize = 2 ** header.clusterBits;
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > length) throw wrong("is cut off");
    const tableOffset = getUint64(view, at);
    const tableSize = view.getUint32(at + 8);
    if (tableSize * 8 > MAX_L1_BYTES || tableOffset + tableSize * 8 > file.size) {
      throw wrong(`has a table of ${tableSize} entries at offset ${tableOffset}`);
    }
    use(tableOffset, tableSize * 8);
    const table = PointerTable.read(file, tableOffset, tableSize);
    for (let entry = 0; entry < tableSize; entry++) {
      const cluster = table.pointer(entry);
      if (cluster !== 0) use(cluster, clusterSize);
    }
    at += Math.ceil((ENTRY_BYTES + view.getUint16(at + 18) + view.getUint32(at + 20)) / 8) * 8;
  }
}
