import { expect, test } from "vitest";
import { Cmos, CmosState } from "../../../src/devices/cmos.ts";

const SECONDS = 0x00;
const MINUTES = 0x02;
const HOURS = 0x04;
const WEEKDAY = 0x06;
const DAY = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REG_A = 0x0a;
const REG_B = 0x0b;
const CENTURY = 0x32;
const SET = 0x80;
const BINARY = 0x04;
const H24 = 0x02;

/** Thursday, 29 February 2024, 23:59:58.250 UTC */
const LEAP_DAY = Date.UTC(2024, 1, 29, 23, 59, 58, 250);

function cmos(time = LEAP_DAY) {
  const clock = { time, now: () => clock.time };
  const chip = new Cmos(CmosState.view(new SharedArrayBuffer(CmosState.size), 0), clock);
  chip.reset();
  const get = (index: number) => {
    chip.write(0, 1, index);
    return chip.read(1, 1);
  };
  const set = (index: number, value: number) => {
    chip.write(0, 1, index);
    chip.write(1, 1, value);
  };
  const date = () => [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].map(get);
  return { chip, clock, get, set, date };
}

test("shows the host's time in UTC, in BCD and 24 hours, with century and weekday", () => {
  const { date, get } = cmos();
  expect(date()).toEqual([0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58]);
  expect(get(WEEKDAY)).toBe(5); // Sunday is 1
});

test("goes on by itself, over midnight of a leap day", () => {
  const { clock, date } = cmos();
  clock.time += 2000;
  expect(date()).toEqual([0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00]);
});

test.each([
  [0, 0x12],
  [1, 0x01],
  [11, 0x11],
  [12, 0x92],
  [13, 0x81],
  [23, 0x91],
])("hour %i of the day reads %i on a 12-hour clock, and can be set so", (hour, byte) => {
  const { get, set } = cmos(Date.UTC(2024, 0, 1, hour));
  set(REG_B, 0);
  expect(get(HOURS)).toBe(byte);
  set(HOURS, byte);
  set(REG_B, H24 | BINARY);
  expect(get(HOURS)).toBe(hour);
});

test("binary mode shows plain numbers", () => {
  const { date, set } = cmos();
  set(REG_B, H24 | BINARY);
  expect(date()).toEqual([20, 24, 2, 29, 23, 59, 58]);
});

test("while SET is set the time does not advance and takes writes; afterwards it runs from there", () => {
  const { clock, date, get, set } = cmos();
  set(REG_B, SET | H24);
  clock.time += 5000;
  expect(get(SECONDS)).toBe(0x58);
  const wanted = [0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59];
  for (const [i, index] of [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].entries())
    set(index, wanted[i]);
  expect(date()).toEqual(wanted);
  set(REG_B, H24);
  expect(date()).toEqual(wanted);
  clock.time += 1000;
  expect(date()).toEqual([0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
  expect(get(WEEKDAY)).toBe(7);
});

test("a single register can be set without SET", () => {
  const { clock, date, set } = cmos();
  set(HOURS, 0x05);
  expect(date()).toEqual([0x20, 0x24, 0x02, 0x29, 0x05, 0x59, 0x58]);
  clock.time += 60_000;
  expect(date()).toEqual([0x20, 0x24, 0x02, 0x29, 0x06, 0x00, 0x58]);
});

test("a date that does not exist becomes one that does; no value breaks the clock", () => {
  const { date, set } = cmos();
  set(REG_B, SET | H24);
  for (const index of [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS]) set(index, 0xff);
  set(REG_B, H24);
  for (const byte of date()) expect(byte & 0x0f).toBeLessThan(10);
});

test("a year below 100 is not taken for one of the twentieth century", () => {
  const { get, set } = cmos();
  set(CENTURY, 0x00);
  expect([get(CENTURY), get(YEAR)]).toEqual([0x00, 0x24]);
});

test("update in progress shows only in the last millisecond of a second, and never while SET is on", () => {
  const { clock, get, set } = cmos();
  const second = Math.floor(clock.time / 1000) * 1000;
  const shown = [];
  for (let ms = 0; ms < 1000; ms++) {
    clock.time = second + ms;
    if (get(REG_A) & 0x80) shown.push(ms);
  }
  expect(shown).toEqual([999]);
  set(REG_B, SET | H24);
  expect(get(REG_A) & 0x80).toBe(0);
  set(REG_A, 0xa6); // a program cannot set it
  expect(get(REG_A)).toBe(0x26);
});

test("RAM keeps its bytes, apart from the clock's; the NMI bit of the index is not part of it", () => {
  const { chip, get, set } = cmos();
  for (let index = 0x0e; index < 0x80; index++) if (index !== CENTURY) set(index, index ^ 0xff);
  for (let index = 0x0e; index < 0x80; index++) if (index !== CENTURY) expect(get(index)).toBe(index ^ 0xff);
  chip.write(0, 1, 0x80 | 0x40);
  expect(chip.read(1, 1)).toBe(0x40 ^ 0xff);
});

test("the battery is good, no interrupt is pending, and neither can be written", () => {
  const { get, set } = cmos();
  set(0x0c, 0xff);
  set(0x0d, 0x00);
  expect([get(0x0c), get(0x0d)]).toEqual([0x00, 0x80]);
});
