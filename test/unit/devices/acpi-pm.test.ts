import { expect, test } from "vitest";
import { AcpiPm, AcpiPmState, RESET_VALUE, SLP_TYP_S5 } from "../../../src/devices/acpi-pm.ts";

const STS = 0;
const EN = 2;
const CNT = 4;
const TMR = 8;
const RESET = 12;
const PWRBTN = 0x100;
const SLP_EN = 1 << 13;

function acpiPm() {
  const sci = {
    level: false,
    set(level: boolean) {
      sci.level = level;
    },
  };
  const did: string[] = [];
  const power = { off: () => void did.push("off"), reset: () => void did.push("reset"), exit() {} };
  const clock = { ns: 0, monotonic: () => clock.ns };
  const chip = new AcpiPm(AcpiPmState.view(new SharedArrayBuffer(AcpiPmState.size), 0), sci, power, clock);
  chip.reset();
  return { chip, sci, did, clock };
}

test("the power button interrupts a guest that listens, until it clears the event", () => {
  const { chip, sci } = acpiPm();
  chip.write(EN, 2, PWRBTN);
  chip.pressPowerButton();
  expect(sci.level).toBe(true);
  expect(chip.read(STS, 2)).toBe(PWRBTN);
  chip.write(STS, 2, 0);
  expect(sci.level).toBe(true); // zeros clear nothing
  chip.write(STS, 2, PWRBTN);
  expect(chip.read(STS, 2)).toBe(0);
  expect(sci.level).toBe(false);
});

test("a button pressed before the guest listens is not lost", () => {
  const { chip, sci } = acpiPm();
  chip.pressPowerButton();
  expect(sci.level).toBe(false);
  chip.write(EN, 2, PWRBTN);
  expect(sci.level).toBe(true);
});

test("status and enable work in any width", () => {
  const { chip } = acpiPm();
  chip.pressPowerButton();
  chip.write(EN + 1, 1, PWRBTN >> 8);
  expect(chip.read(STS, 4)).toBe((PWRBTN << 16) | PWRBTN);
  expect(chip.read(STS + 1, 1)).toBe(PWRBTN >> 8);
  chip.write(STS + 1, 1, PWRBTN >> 8);
  expect(chip.read(STS, 4)).toBe(PWRBTN << 16);
  chip.write(STS, 4, 0xffff_ffff);
  expect(chip.read(EN, 2)).toBe(0x0721); // the bits that ACPI names
});

test("writing S5 with SLP_EN switches off, as a word or as its upper byte", () => {
  const { chip, did } = acpiPm();
  chip.write(CNT, 2, (SLP_TYP_S5 << 10) | SLP_EN);
  chip.write(CNT + 1, 1, ((SLP_TYP_S5 << 10) | SLP_EN) >> 8);
  expect(did).toEqual(["off", "off"]);
});

test("neither S5 without SLP_EN nor another sleep state switches off", () => {
  const { chip, did } = acpiPm();
  chip.write(CNT, 2, SLP_TYP_S5 << 10);
  for (let type = 0; type < 8; type++) if (type !== SLP_TYP_S5) chip.write(CNT, 2, (type << 10) | SLP_EN);
  expect(did).toEqual([]);
});

test("SCI_EN reads as one, whatever is written: the machine is in ACPI mode from the start", () => {
  const { chip } = acpiPm();
  expect(chip.read(CNT, 2)).toBe(1);
  chip.write(CNT, 2, 0);
  expect(chip.read(CNT, 1)).toBe(1);
  chip.write(CNT, 2, 0xffff & ~SLP_EN);
  expect(chip.read(CNT, 2)).toBe(0x1c03); // SLP_EN and GBL_RLS read as zero
});

test("the timer counts 3 579 545 ticks a second, in 32 bits, and cannot be written", () => {
  const { chip, clock } = acpiPm();
  clock.ns = 1e9;
  expect(chip.read(TMR, 4)).toBe(3_579_545);
  chip.write(TMR, 4, 0);
  expect(chip.read(TMR, 4)).toBe(3_579_545);
  clock.ns = 3600e9;
  expect(chip.read(TMR, 4)).toBe((3600 * 3_579_545) % 2 ** 32);
  expect(chip.read(TMR + 3, 1)).toBe(chip.read(TMR, 4) >>> 24);
});

test("the reset register resets the machine, by its value only", () => {
  const { chip, did } = acpiPm();
  for (let value = 0; value < 256; value++) if (value !== RESET_VALUE) chip.write(RESET, 1, value);
  expect(did).toEqual([]);
  chip.write(RESET, 1, RESET_VALUE);
  expect(did).toEqual(["reset"]);
});
