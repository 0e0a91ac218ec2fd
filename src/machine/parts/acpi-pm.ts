/** ACPI's fixed hardware: power button, soft-off, reset register. */
import {
  AcpiPm,
  AcpiPmState,
  PM1_CNT,
  PM1_EVT,
  RESET_REG,
  RESET_VALUE,
  SLP_TYP_S5,
} from "../../devices/acpi-pm.ts";
import type { Part } from "../part.ts";

export const acpiPm: Part<object> = {
  kind: "acpi-pm",
  assemble(slot) {
    const { power, clock } = slot.ports;
    const line = slot.line();
    const chip = new AcpiPm(slot.take(AcpiPmState), line, power, clock);
    return { lock: slot.add(chip), pressPowerButton: () => chip.pressPowerButton() };
  },
  describe: ({ windows: [{ address }], gsi = 0 }) => ({
    pm: {
      eventPort: address + PM1_EVT,
      controlPort: address + PM1_CNT,
      sciIrq: gsi,
      resetPort: address + RESET_REG,
      resetValue: RESET_VALUE,
      sleepTypeS5: SLP_TYP_S5,
    },
  }),
};
