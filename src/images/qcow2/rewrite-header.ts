/**
 * Writes an image's header anew: other names of files in it, at other places.
 *
 * Storage writes one sector whole, and a header may be longer. So what lies
 * behind its first sector is written first, without touching the name that the
 * old first sector points to; then the first sector, which changes over. (In
 * small clusters there may be no room for both names; they are written at once.)
 *
 * Source: QEMU docs/interop/qcow2.txt, Header.
 */
import { SECTOR } from "../../base/units.ts";
import type { HostFile } from "../../sys/file.ts";
import { encodeHeader, getUint64, type Header } from "./header.ts";

const BACKING_FILE_AT = 8; // and backing_file_size behind it

export type HeaderFile = Pick<HostFile, "path" | "read" | "write">;

/** @throws {ImageError} if the names do not fit into the header; {SystemError} */
export function rewriteHeader(file: HeaderFile, header: Header, barrier: () => void): void {
  const old = new Uint8Array(2 ** header.clusterBits);
  file.read(old, 0);
  const view = new DataView(old.buffer);
  const start = getUint64(view, BACKING_FILE_AT);
  const end = Math.min(old.length, start + view.getUint32(BACKING_FILE_AT + 8));
  const bytes = encodeHeader(file.path, header, { start, end });
  if (bytes.length > SECTOR) {
    barrier();
    const tail = bytes.slice(SECTOR);
    for (let at = Math.max(SECTOR, start); at < end; at++) if (bytes[at] === 0) tail[at - SECTOR] = old[at];
    file.write(tail, SECTOR);
  }
  barrier();
  file.write(bytes.subarray(0, SECTOR), 0);
  barrier();
}
