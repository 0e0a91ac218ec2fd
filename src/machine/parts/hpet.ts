/** A high precision event timer: see devices/hpet.ts. */
import { timerTask } from "../../bus/timer-task.ts";
import { Hpet, HpetState } from "../../devices/hpet.ts";
import type { Part } from "../part.ts";

export interface HpetConfig {
  /** Inputs of the I/O APIC that a timer may be routed to. */
  readonly inputs: readonly number[];
}

export const hpet: Part<HpetConfig> = {
  kind: "hpet",
  assemble(slot, { inputs }) {
    const { ports, name } = slot;
    const { clock, driveIrq, replacePit } = ports;
    const notify = ports.notify(name);
    const pulses = Array.from({ length: 24 }, (_, line) => ports.pulse(line));
    const chip = new Hpet(slot.take(HpetState), {
      clock,
      routes: inputs.reduce((bits, input) => bits | (1 << input), 0) >>> 0,
      drive: driveIrq,
      pulse: (line) => pulses[line].pulse(),
      replaceLegacy: replacePit,
      timer: { raise: () => notify.notify(0) },
    });
    slot.drivesLines(chip);
    const lock = slot.add(chip);
    return { lock, hasTimer: true, task: ports.io && timerTask(name, chip, lock) };
  },
  describe: ({ windows: [{ address, length }] }) => ({ hpet: { address, size: length } }),
};
