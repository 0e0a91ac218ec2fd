/** The memories of a PC besides RAM, by name: see Board.memories. */
import { KIB } from "../base/units.ts";

/** The image of the firmware, which ends at 4 GiB. */
export const FIRMWARE = "firmware";
/** What firmware and guests read by fw_cfg: see boot/fw-cfg.ts. The guest does not see it as memory. */
export const FW_CFG = "fw-cfg";
export const FW_CFG_BYTES = 512 * KIB;
/** The page of the VM generation ID. No RAM, so that no firmware has to leave it alone. */
export const GENERATION_ID = "generation-id";
/** The bytes of flash chip `n`. */
export function flashMemory(n: number): string {
  return `flash${n}`;
}
