/** A drive over RAM of its own, used like by a guest; each request is waited for. */

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EINPROGRESS } from "../../src/base/errno.ts";
import { Pieces } from "../../src/base/pieces.ts";
import { type DriveImage, openDrive } from "../../src/images/drive.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { GuestRam } from "../../src/sys/guest-ram.ts";

export const TAGS = 64;

/** On a disk, not in memory: O_DIRECT works there, and reads take time. */
export function diskFolder(name: string): { path: string; remove: () => void } {
  const path = mkdtempSync(join("/var/tmp", `vmexit-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

export function guestDisk(image: Partial<DriveImage> & { readonly file: string }, ramBytes = 2 ** 21) {
  const ram = GuestRam.create(ramBytes);
  const memory = new GuestMemory(ram, [{ address: 0, size: ramBytes, offset: 0 }]);
  const notes: string[] = [];
  const disk = openDrive(
    {
      format: "raw",
      readOnly: false,
      otherFiles: "folder",
      cacheBytes: undefined,
      cache: "writeback",
      aio: "io_uring",
      discard: "unmap",
      detectZeroes: "off",
      overlay: undefined,
      ...image,
    },
    { ram, memory, tags: TAGS, note: (note) => void notes.push(note) },
  );
  /** Waits for the result of a request. */
  const over = (tag: number, begun: number): number => {
    if (begun !== EINPROGRESS) return begun;
    disk.drain();
    if (disk.take() !== tag) throw new Error("another request has completed");
    return disk.result;
  };
  return {
    ram,
    memory,
    disk,
    notes,
    read: (offset: number, ...iov: number[]) => over(3, disk.readv(Pieces.of(...iov), offset, 3)),
    write: (offset: number, ...iov: number[]) => over(3, disk.writev(Pieces.of(...iov), offset, false, 3)),
    writeStable: (offset: number, ...iov: number[]) =>
      over(3, disk.writev(Pieces.of(...iov), offset, true, 3)),
    flush: () => over(3, disk.flush(3)),
  };
}
