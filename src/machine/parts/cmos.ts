/** The CMOS memory with its clock. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { Cmos, type CmosContents, CmosState, RTC_CENTURY } from "../../devices/cmos.ts";
import type { Part } from "../part.ts";

export interface CmosConfig {
  /** What firmware reads there. */
  readonly contents?: CmosContents;
}

export const cmos: Part<CmosConfig> = {
  kind: "cmos",
  assemble(slot, { contents }) {
    const chip = new Cmos(slot.take(CmosState), slot.ports.clock, contents);
    return { lock: slot.add(new ByteWide(chip)) };
  },
  describe: () => ({ rtc: { century: RTC_CENTURY } }),
};
