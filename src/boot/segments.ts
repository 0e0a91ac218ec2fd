/** The parts of a kernel whose addresses the file decides: refused with advice if they cannot go there. */
import { hex } from "../base/hex.ts";
import { PAGE } from "../base/units.ts";
import { initrdPages } from "./initrd.ts";
import { BOOT_DATA } from "./low-memory.ts";
import { BootError, type Placement } from "./plan.ts";
import { notEnoughRam, type Ram } from "./ram.ts";
import type { BootRequest } from "./request.ts";

export interface LoadedImage {
  readonly segments: readonly Placement[];
  /** Guest-physical. */
  readonly entry: number;
  /** In messages: "the entry". */
  readonly entryName: string;
}

/** @throws {BootError} if the entry is in none of them, or one is outside RAM or where boot data is. */
export function checkSegments(
  { segments, entry, entryName }: LoadedImage,
  ram: Ram,
  { kernelName, initrd }: BootRequest,
): void {
  if (!segments.some(({ address, size }) => entry >= address && entry < address + size)) {
    throw new BootError(`${kernelName}: ${entryName} ${hex(entry)} is in none of the file's segments`);
  }
  for (const { what, address, size } of segments) {
    if (address < BOOT_DATA.address + BOOT_DATA.size && BOOT_DATA.address < address + size) {
      throw new BootError(
        `${kernelName}: ${what} at ${hex(address)} overlaps the boot data of vmexit (${hex(BOOT_DATA.address)} to ${hex(BOOT_DATA.address + BOOT_DATA.size)})`,
      );
    }
    // A segment in a hole below the end of RAM is left to checkPlacements: more memory would not help.
    if (!ram.holds({ address, size }) && address + size > ram.lowEnd) {
      const end = Math.max(...segments.map((segment) => segment.address + segment.size));
      const needed = Math.ceil(end / PAGE) * PAGE + initrdPages(initrd);
      throw new BootError(
        `${kernelName}: ${what} occupies ${hex(address)} to ${hex(address + size)}: ${notEnoughRam(ram, needed)}`,
      );
    }
  }
}
