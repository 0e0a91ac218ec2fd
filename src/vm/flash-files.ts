/** The files of flash chips. What a guest programs is in the mapped file at once, as in QEMU. */
import { OptionError } from "../base/errors.ts";
import { MIB, PAGE } from "../base/units.ts";
import { lockImage } from "../images/file-lock.ts";
import type { FlashSpec } from "../machine/spec.ts";
import { HostFile } from "../sys/file.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { CheckedOptions } from "./validate.ts";

/** Of all chips together: below are the local APICs' pages, and what KVM uses itself. */
const MOST = 8 * MIB;
const MOST_CHIPS = 2;

export interface FlashFile extends FlashSpec {
  /** Maps it, for one power cycle. */
  map(): GuestRam;
}

/** @throws {OptionError} for a file that cannot be a chip; {SystemError}, {ImageInUseError} */
export function openFlash(chips: CheckedOptions["flash"]): FlashFile[] {
  if (chips.length > MOST_CHIPS) {
    throw new OptionError(`flash: ${chips.length} chips are too many; there are up to ${MOST_CHIPS}`);
  }
  const files = chips.map(({ file, readOnly }, n) => {
    using opened = HostFile.open(file, { readOnly });
    const { size } = opened;
    let isFirst = true;
    if (size === 0 || size % PAGE !== 0) {
      throw new OptionError(
        `flash[${n}]: "${file}" has ${size} bytes; a chip has a multiple of 4096. It holds the image itself: format raw`,
      );
    }
    return {
      size,
      readOnly,
      map() {
        using again = HostFile.open(file, { readOnly });
        if (again.size < size) throw new OptionError(`flash[${n}]: "${file}" has become shorter`);
        if (readOnly) return GuestRam.mapFile(again, size);
        lock(again, isFirst);
        isFirst = false;
        return GuestRam.mapFile(again, size, true);
      },
    };
  });
  if (files.reduce((sum, { size }) => sum + size, 0) > MOST) {
    throw new OptionError("flash: the chips have more than 8 MiB together");
  }
  return files;
}

/** Until the mapping is released, which may be after the next power cycle has begun: that one shares it. */
function lock(file: HostFile, isFirst: boolean): void {
  try {
    lockImage(file, "raw");
  } catch (error) {
    if (isFirst) throw error;
  }
}
