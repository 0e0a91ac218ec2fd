/**
 * The entry that an ELF kernel gives for the PVH protocol, in a note.
 *
 * Source: Xen docs/misc/pvh.pandoc and public/elfnote.h.
 */
import { type ProgramHeader, readNotes } from "./elf.ts";
import { BootError, type ByteSource } from "./plan.ts";

const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** A guest-physical address; undefined if the kernel has no such note. @throws {BootError} for a broken one. */
export function findPvhEntry(
  kernel: ByteSource,
  headers: readonly ProgramHeader[],
  name: string,
): number | undefined {
  const note = readNotes(kernel, headers, name).find(
    ({ name, type }) => name === "Xen" && type === XEN_ELFNOTE_PHYS32_ENTRY,
  );
  if (note === undefined) return undefined;
  const { description } = note;
  // Four bytes or eight, as the kernel's pointers are; the entry is 32-bit code either way.
  if (description.length < 4) throw new BootError(`${name}: the PVH entry note is cut off`);
  return new DataView(description.buffer, description.byteOffset).getUint32(0, true);
}
