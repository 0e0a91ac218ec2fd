import { expect, test } from "vitest";
import { NEVER } from "../../../src/bus/io-task.ts";
import { Rtc, RtcState } from "../../../src/devices/rtc.ts";
import { devicePromises } from "../../support/device-promises.ts";

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES_ALARM = 0x03;
const HOURS_ALARM = 0x05;
const REG_A = 0x0a;
const REG_B = 0x0b;
const REG_C = 0x0c;
const SET = 0x80;
const PIE = 0x40;
const AIE = 0x20;
const UIE = 0x10;
const BINARY = 0x04;
const H24 = 0x02;
const IRQF = 0x80;
const PF = 0x40;
const AF = 0x20;
const UF = 0x10;
const ANY = 0xc0;

/** Thursday, 29 February 2024, 21:59:58.250 UTC */
const EVENING = Date.UTC(2024, 1, 29, 21, 59, 58, 250);

function rtc({ time = EVENING, slew = false } = {}) {
  const clock = { timeMs: time, now: () => Math.floor(clock.timeMs), monotonic: () => clock.timeMs * 1e6 };
  const line = { level: false, edges: 0 };
  let wakes = 0;
  const chip = new Rtc(RtcState.view(new SharedArrayBuffer(RtcState.size), 0), {
    irq: {
      set(level) {
        if (level && !line.level) line.edges++;
        line.level = level;
      },
    },
    clock,
    timer: { raise: () => wakes++ },
    slew,
  });
  chip.reset();
  const get = (index: number) => {
    chip.write(0, 1, index);
    return chip.read(1, 1);
  };
  const set = (index: number, value: number) => {
    chip.write(0, 1, index);
    chip.write(1, 1, value);
  };
  get(REG_C); // its time begins here
  /** Lets the timer run for `ms`, as the io thread does. Returns how often it woke. */
  const pass = (ms: number) => {
    const end = clock.timeMs + ms;
    for (let turns = 1; ; turns++) {
      const wait = chip.advance();
      if (clock.timeMs + wait > end) {
        clock.timeMs = end;
        chip.advance();
        return turns;
      }
      clock.timeMs += Math.ceil(wait);
    }
  };
  return { chip, clock, line, get, set, pass, wakes: () => wakes };
}

devicePromises({
  name: "MC146818 with interrupts",
  layout: RtcState,
  length: 2,
  build: (regs, { irq, clock, signal }) => new Rtc(regs, { irq, clock, timer: signal, slew: true }),
  disturb: (chip) => void chip.advance(),
});

test("nothing is enabled at first: no timer, no interrupt, and what is not enabled needs no wake", () => {
  const { chip, line, pass, set, wakes } = rtc();
  expect(chip.advance()).toBe(NEVER);
  set(REG_A, 0x26);
  set(SECONDS_ALARM, 0);
  pass(10_000);
  expect([line.edges, wakes()]).toEqual([0, 0]);
});

test("flags are set without being enabled, and a read clears them", () => {
  const { clock, get } = rtc();
  clock.timeMs += 1000;
  expect(get(REG_C) & (IRQF | UF | PF)).toBe(UF | PF);
  expect(get(REG_C)).toBe(0);
});

test("an update interrupts once a second, when it begins", () => {
  const { clock, line, get, set, pass, wakes } = rtc();
  set(REG_B, H24 | UIE);
  expect(wakes()).toBe(1);
  pass(749);
  expect(line.edges).toBe(0);
  pass(2);
  expect([line.level, get(SECONDS)]).toEqual([true, 0x59]);
  expect(get(REG_C) & (IRQF | UF)).toBe(IRQF | UF);
  expect(line.level).toBe(false);
  for (let n = 0; n < 5; n++) {
    pass(1000);
    expect(get(REG_C) & UF).toBe(UF);
  }
  expect(line.edges).toBe(6);
  expect(clock.timeMs).toBe(EVENING + 5751);
});

test("a flag that is set when its interrupt is enabled interrupts at once", () => {
  const { clock, line, set } = rtc();
  clock.timeMs += 1000;
  set(REG_B, H24 | UIE);
  expect(line.level).toBe(true);
});

test("SET stops updates and clears UIE, so that no interrupt comes while a guest sets the time", () => {
  const { get, line, set, pass, chip } = rtc();
  set(REG_B, SET | UIE | AIE | H24);
  expect(get(REG_B)).toBe(SET | AIE | H24);
  pass(5000);
  expect([line.edges, get(REG_C) & (UF | AF)]).toEqual([0, 0]);
  expect(chip.advance()).toBe(NEVER);
  set(REG_B, UIE | H24);
  pass(1000);
  expect(line.edges).toBe(1);
});

test.each([
  [0x26, 1024],
  [0x2f, 2],
  [0x21, 256],
  [0x22, 128],
  [0x28, 256],
])("register A %i interrupts %i times a second", (a, rate) => {
  const { clock, get, set } = rtc();
  set(REG_A, a);
  set(REG_B, H24 | PIE);
  get(REG_C);
  let count = 0;
  const end = clock.timeMs + 1000;
  for (; clock.timeMs < end; clock.timeMs += 1 / 16) if (get(REG_C) & PF) count++;
  expect(Math.abs(count - rate)).toBeLessThanOrEqual(1);
});

test("rate 0 and a stopped divider interrupt never", () => {
  const { get, set, clock } = rtc();
  for (const a of [0x20, 0x66, 0x06]) {
    set(REG_A, a);
    get(REG_C);
    clock.timeMs += 1000;
    expect(get(REG_C) & PF).toBe(0);
  }
});

test("64 times a second the timer wakes as often, and the line rises each time", () => {
  const { line, get, set, pass } = rtc();
  set(REG_A, 0x2a);
  set(REG_B, H24 | PIE);
  for (let n = 0; n < 64; n++) {
    pass(1000 / 64);
    get(REG_C);
  }
  expect(line.edges).toBeGreaterThanOrEqual(62);
});

test("with slew, interrupts that were lost are repeated as the guest acknowledges; else they are one", () => {
  const acknowledged = (slew: boolean) => {
    const { chip, clock, get, set } = rtc({ slew });
    set(REG_A, 0x2a);
    set(REG_B, H24 | PIE);
    get(REG_C);
    let count = 0;
    for (let late = 0; late < 4; late++) {
      clock.timeMs += 125; // eight periods
      chip.advance();
      while (get(REG_C) & PF) count++;
    }
    return count;
  };
  expect(acknowledged(false)).toBe(4);
  expect(Math.abs(acknowledged(true) - 32)).toBeLessThanOrEqual(1);
});

test.each([
  ["a time in BCD", H24, [0x22, 0x00, 0x03], 5],
  ["a time in binary", H24 | BINARY, [22, 0, 3], 5],
  ["a time of a 12-hour clock", 0, [0x90, 0x00, 0x03], 5],
  ["a second of each minute", H24, [ANY, ANY, 0x59], 1],
  ["each second", H24, [0xff, 0xff, 0xff], 1],
  ["a minute of each hour, as the hour begins", H24, [ANY, 0x00, ANY], 2],
])("an alarm at %s comes in time", (_what, mode, [hours, minutes, seconds], after) => {
  const { clock, line, get, set, pass } = rtc();
  set(REG_B, mode);
  set(HOURS_ALARM, hours);
  set(MINUTES_ALARM, minutes);
  set(SECONDS_ALARM, seconds);
  set(REG_B, mode | AIE);
  while (!line.level && clock.timeMs < EVENING + 10_000) pass(1);
  expect(Math.floor(clock.timeMs / 1000) - Math.floor(EVENING / 1000)).toBe(after);
  expect(get(REG_C) & (IRQF | AF)).toBe(IRQF | AF);
});

test("an alarm of tomorrow wakes the timer rarely, and one that no clock shows never interrupts", () => {
  const day = 86_400_000;
  const { line, set, pass, get } = rtc();
  set(HOURS_ALARM, 0x21);
  set(MINUTES_ALARM, 0x59);
  set(SECONDS_ALARM, 0x58);
  set(REG_B, H24 | AIE);
  expect(pass(day - 300)).toBeLessThan(1500); // once a minute: the host's clock may be set
  expect(line.edges).toBe(0);
  pass(100);
  expect(line.edges).toBe(1);
  get(REG_C);
  set(HOURS_ALARM, 0x35);
  pass(2 * day);
  expect(line.edges).toBe(1);
});

test("setting the time neither updates nor alarms for the seconds between", () => {
  const { get, set } = rtc();
  set(HOURS_ALARM, ANY);
  set(MINUTES_ALARM, ANY);
  set(SECONDS_ALARM, 0x30);
  set(0x02, 0x10);
  set(0x04, 0x23);
  expect(get(REG_C) & (UF | AF)).toBe(0);
});
