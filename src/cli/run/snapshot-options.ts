/**
 * The options of saved machines: -loadvm and -savevm.
 *
 * Source: QEMU 7.2, qemu-options.hx (-loadvm). In QEMU, -loadvm takes only the name
 * of a snapshot that is in a disk's image, and saving is a command of its monitor.
 */
import type { OptionRow } from "./option-row.ts";

export const SNAPSHOT_OPTIONS: readonly OptionRow[] = [
  {
    names: ["loadvm"],
    argument: "DIR|NAME",
    example: "-loadvm booted",
    help: "continues from a snapshot: a folder that Ctrl-A s, vmexit snapshot save or vm.snapshot made, or NAME in the qcow2 images of the drives, which become what they were. Memory, CPUs and devices are those of the snapshot; drives are given again",
    apply: (draft, value) => {
      draft.loadvm = value;
    },
  },
  {
    names: ["savevm"],
    argument: "DIR|disk:NAME",
    example: "-savevm booted",
    help: "where Ctrl-A s saves the machine: a folder to make, or a snapshot to replace (default: a new folder NAME-DATE-TIME); disk:NAME: inside the qcow2 images of the drives",
    apply: (draft, value) => {
      draft.savevm = value;
    },
  },
];
