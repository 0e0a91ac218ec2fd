/** The CMOS memory with its clock. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { Cmos, CmosState, RTC_CENTURY } from "../../devices/cmos.ts";
import type { Part } from "../part.ts";

export const cmos: Part<object> = {
  kind: "cmos",
  assemble(slot) {
    return { lock: slot.add(new ByteWide(new Cmos(slot.take(CmosState), slot.ports.clock))) };
  },
  describe: () => ({ rtc: { century: RTC_CENTURY } }),
};
