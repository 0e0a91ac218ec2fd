/** A drive over RAM of its own, used like by a guest; each request is waited for. */

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EINPROGRESS } from "../../src/base/errno.ts";
import { Pieces } from "../../src/base/pieces.ts";
import { type DriveImage, describeDrive, openDrive } from "../../src/images/drive.ts";
import { KeptFiles } from "../../src/images/files.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { GuestRam } from "../../src/sys/guest-ram.ts";

export const TAGS = 64;

/** On a disk, not in memory: O_DIRECT works there, and reads take time. */
export function diskFolder(name: string): { path: string; remove: () => void } {
  const path = mkdtempSync(join("/var/tmp", `vmexit-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

type Given = Partial<Omit<DriveImage, "files">> & { readonly file: string };

/** Opened as a machine does it: its files first, where it is described, then the disk from those. */
export function guestDisk(given: Given, ramBytes = 2 ** 21) {
  const ram = GuestRam.create(ramBytes);
  const memory = new GuestMemory(ram, [{ address: 0, size: ramBytes, offset: 0 }]);
  const notes: string[] = [];
  const image = {
    format: "raw",
    readOnly: false,
    otherFiles: "folder",
    cacheBytes: undefined,
    cache: "writeback",
    aio: "io_uring",
    discard: "unmap",
    detectZeroes: "off",
    overlay: undefined,
    ...given,
  } as const;
  const files = new KeptFiles();
  describeDrive(image, files);
  const ports = { ram, memory, tags: TAGS, note: (note: string) => void notes.push(note) };
  const disk = openDrive({ ...image, files: files.found }, ports);
  files.close();
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
    discard: (offset: number, length: number) => over(3, disk.discard(offset, length, 3)),
    zero: (offset: number, length: number, mayUnmap: boolean) =>
      over(3, disk.writeZeroes(offset, length, mayUnmap, 3)),
  };
}
