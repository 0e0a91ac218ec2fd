/**
 * `-hda` to `-hdd` and `-cdrom`: the drives of a PC in short.
 *
 * Source: QEMU 11.1, qemu-options.hx.
 */
import { addIdeDrive } from "./drive-options.ts";
import type { OptionRow } from "./option-row.ts";

const PLACES = ["first", "second", "third", "fourth"] as const;
/** The first drive of the second channel. */
const CD_INDEX = 2;

export const IDE_OPTIONS: readonly OptionRow[] = [
  ...PLACES.map((place, index): OptionRow => {
    const name = `hd${"abcd"[index]}`;
    return {
      names: [name],
      argument: "FILE",
      example: `-${name} disk.qcow2 -M pc`,
      help: `of a pc: the ${place} IDE drive; what the file looks like decides its format`,
      apply: (draft, value, typed) => addIdeDrive(draft, value, typed, { index }),
    };
  }),
  {
    names: ["cdrom"],
    argument: "FILE",
    example: "-cdrom debian.iso -M pc",
    help: "of a pc: a CD drive in the place of -hdc, with this image in it",
    apply: (draft, value, typed) => addIdeDrive(draft, value, typed, { index: CD_INDEX, media: "cdrom" }),
  },
];
