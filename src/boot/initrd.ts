/**
 * Where the initial RAM disk goes: as high as possible, where a kernel that
 * unpacks itself does not overwrite it.
 */
import { hex } from "../base/hex.ts";
import { PAGE } from "../base/units.ts";
import { ONE_MIB } from "./low-memory.ts";
import { BootError, type Placement } from "./plan.ts";
import { notEnoughRam, type Ram, type Range } from "./ram.ts";

/** Rounded up to whole pages, as it is placed. */
export function initrdPages(initrd: { readonly size: number } | undefined): number {
  return initrd === undefined ? 0 : Math.ceil(initrd.size / PAGE) * PAGE;
}

/**
 * @param highest the highest address that its last byte may have
 * @param taken   ranges that it must not overlap: the kernel, before and after unpacking
 * @throws {BootError} that says how much memory would be enough, if any would.
 */
export function placeInitrd(
  initrd: { readonly size: number; readonly name: string },
  ram: Ram,
  highest: number,
  taken: readonly Range[],
): Placement {
  if (initrd.size === 0) throw new BootError(`${initrd.name}: the initrd is empty`);
  const address = ram.highest(initrd.size, ONE_MIB, highest + 1, taken);
  if (address < 0) {
    const kernelEnd = Math.max(ONE_MIB, ...taken.map((range) => range.address + range.size));
    const needed = Math.ceil(kernelEnd / PAGE) * PAGE + initrdPages(initrd);
    const why =
      needed > highest + 1
        ? `the kernel can use it only up to ${hex(highest)}, and more memory would not help`
        : notEnoughRam(ram, needed);
    throw new BootError(
      `${initrd.name}: no room beside the kernel for an initrd of ${initrd.size} bytes: ${why}`,
    );
  }
  return {
    what: "initrd",
    address,
    size: initrd.size,
    data: { file: "initrd", offset: 0, length: initrd.size },
  };
}
