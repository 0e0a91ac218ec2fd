/** A device whose registers the program provides. */
import type { Part } from "../part.ts";

export interface OwnDeviceConfig {
  /** Its number among the program's own devices. */
  readonly index: number;
}

export const ownDevice: Part<OwnDeviceConfig> = {
  kind: "own-device",
  assemble: (slot, { index }) => ({ lock: slot.add(slot.ports.own(index)) }),
};
