/** How a machine begins each of its power cycles: with a kernel, or with firmware. */
import type { FirmwareSpec } from "../machine/spec.ts";
import type { Origin } from "./power-cycle.ts";

export interface PowerOn {
  /** For the spec of the next power cycle; undefined if it does not begin with firmware. */
  firmware?(): FirmwareSpec;
  /** For the spec: see MachineSpec. */
  readonly userFilesBytes?: number;
  /** For one power cycle. @param note called with what is not as the options have it, in a sentence */
  origin(note: (text: string) => void): Origin;
  /** Where the machine continues, if it is not a new one. */
  readonly saved?: Origin;
}

/** The boot protocol's name of a machine that began with firmware. */
export const FIRMWARE_PROTOCOL = "firmware";
