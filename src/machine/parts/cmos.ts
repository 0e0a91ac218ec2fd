/** The CMOS memory with its clock. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { Cmos, type CmosContents, CmosState, RTC_CENTURY } from "../../devices/cmos.ts";
import type { Part } from "../part.ts";
import type { MachineSpec } from "../spec.ts";

export interface CmosConfig {
  /** What firmware reads there. */
  readonly contents?: CmosContents;
  /** By how many milliseconds its clock is ahead of the host's. */
  readonly offsetMs?: number;
}

/** What a machine's spec says of its clock. */
export function cmosConfig({ rtcOffsetMs }: MachineSpec): CmosConfig {
  return rtcOffsetMs === undefined ? {} : { offsetMs: rtcOffsetMs };
}

export const cmos: Part<CmosConfig> = {
  kind: "cmos",
  assemble(slot, { contents, offsetMs = 0 }) {
    const { clock } = slot.ports;
    const wall = offsetMs === 0 ? clock : { now: () => clock.now() + offsetMs };
    const chip = new Cmos(slot.take(CmosState), wall, contents);
    return { lock: slot.add(new ByteWide(chip)) };
  },
  describe: () => ({ rtc: { century: RTC_CENTURY } }),
};
