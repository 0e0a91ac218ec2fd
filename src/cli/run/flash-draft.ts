/** What -drive if=pflash, -pflash and -machine pflash0= say of flash chips. */
import { OptionError } from "../../base/errors.ts";
import type { DriveOptions } from "../../config/devices/virtio-blk.ts";
import type { VmOptions } from "../../config/machine.ts";

export interface FlashDraft {
  /** Of -drive if=pflash and -pflash, in their order. */
  readonly chips: { readonly typed: string; readonly options: DriveOptions }[];
  /** Of -machine: the drive or node of each chip, by its number. */
  readonly named: (string | undefined)[];
}

type Chip = NonNullable<VmOptions["flash"]>[number];

const CHIPS = 2;

/** @param drives those that a chip can name */
export function finishFlash(
  { chips, named }: FlashDraft,
  drives: readonly { readonly options: DriveOptions }[],
): VmOptions["flash"] {
  const found: (Chip | undefined)[] = [];
  named.forEach((id, n) => {
    if (id === undefined) return;
    const typed = `-machine pflash${n}=${id}`;
    const drive = drives.find(({ options }) => options.id === id);
    if (drive === undefined) {
      throw new OptionError(
        `${typed}: there is no -blockdev with node-name=${id}, nor a -drive with id=${id}`,
      );
    }
    found[n] = chipOf(typed, drive.options);
  });
  for (const { typed, options } of chips) {
    const n = options.index ?? (found[0] === undefined ? 0 : 1);
    if (n >= CHIPS) throw new OptionError(`${typed}: there are two flash chips, 0 and 1`);
    if (found[n] !== undefined) throw new OptionError(`${typed}: there is a flash chip ${n} already`);
    found[n] = chipOf(typed, options);
  }
  return Array.from(found, (chip) => {
    if (chip === undefined)
      throw new OptionError("flash chip 0, which has the firmware, is missing: pflash0");
    return chip;
  });
}

function chipOf(typed: string, { file, format, readOnly }: DriveOptions) {
  if (file === undefined) throw new OptionError(`${typed}: the file is missing: file=PATH`);
  if (format !== undefined && format !== "raw" && format !== "auto") {
    throw new OptionError(`${typed}: a flash chip is a raw file; convert it with vmexit img convert -O raw`);
  }
  return { file, ...(readOnly === undefined ? {} : { readOnly }) };
}
