/** The CMOS memory with a clock that interrupts: see devices/rtc.ts. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { timerTask } from "../../bus/timer-task.ts";
import { RTC_CENTURY } from "../../devices/cmos.ts";
import { Rtc, RtcState } from "../../devices/rtc.ts";
import type { Part } from "../part.ts";
import type { CmosConfig } from "./cmos.ts";

export interface RtcConfig extends CmosConfig {
  /** Repeats periodic interrupts that were lost. */
  readonly slew?: boolean;
}

export const rtc: Part<RtcConfig> = {
  kind: "rtc",
  assemble(slot, { contents, offsetMs = 0, slew = false }) {
    const { ports, name } = slot;
    const { clock } = ports;
    const ahead = { now: () => clock.now() + offsetMs, monotonic: () => clock.monotonic() };
    const notify = ports.notify(name);
    const chip = new Rtc(
      slot.take(RtcState),
      { irq: slot.line(), clock: ahead, timer: { raise: () => notify.notify(0) }, slew },
      contents,
    );
    const lock = slot.add(new ByteWide(chip));
    return { lock, hasTimer: true, task: ports.io && timerTask(name, chip, lock) };
  },
  describe: ({ gsi = 0 }) => ({ rtc: { century: RTC_CENTURY, irq: gsi } }),
};
