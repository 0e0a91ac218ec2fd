import { expect, test } from "vitest";
import { NEVER } from "../../../src/bus/io-task.ts";
import { Hpet, HpetState } from "../../../src/devices/hpet.ts";
import { devicePromises } from "../../support/device-promises.ts";

const ID = 0x000;
const PERIOD = 0x004;
const CONFIG = 0x010;
const STATUS = 0x020;
const COUNTER = 0x0f0;
const ENABLE = 1;
const LEGACY = 2;

const timer = (n: number) => 0x100 + 0x20 * n;
const TN_CONFIG = 0x00;
const TN_ROUTES = 0x04;
const TN_CMP = 0x08;
const TN_LEVEL = 0x02;
const TN_ENABLE = 0x04;
const TN_PERIODIC = 0x08;
const TN_CAPABILITIES = 0x30;
const TN_SETVAL = 0x40;
const TN_32BIT = 0x100;
const route = (input: number) => input << 9;

const ROUTES = [2, 8, 16, 17, 18, 19, 21, 22, 23].reduce((bits, input) => bits | (1 << input), 0) >>> 0;
const TICKS_PER_MS = 100_000;

function hpet(timeMs = 5_000) {
  const clock = { timeMs, monotonic: () => clock.timeMs * 1e6 };
  const log: string[] = [];
  const regs = HpetState.view(new SharedArrayBuffer(HpetState.size), 0);
  let wakes = 0;
  const chip = new Hpet(regs, {
    clock,
    routes: ROUTES,
    drive: (line, asserted) => log.push(`${line} ${asserted ? "up" : "down"}`),
    pulse: (line) => log.push(`${line} edge`),
    replaceLegacy: (replaced) => log.push(`legacy ${replaced}`),
    timer: { raise: () => wakes++ },
  });
  chip.reset();
  const get = (offset: number) => chip.read(offset, 4);
  const set = (offset: number, value: number) => chip.write(offset, 4, value >>> 0);
  const counter = () => get(COUNTER) + get(COUNTER + 4) * 2 ** 32;
  /** Lets the timer run for `ms`, as the io thread does. Returns how often it woke. */
  const pass = (ms: number) => {
    const end = clock.timeMs + ms;
    for (let turns = 1; ; turns++) {
      const wait = chip.advance();
      if (wait === NEVER || clock.timeMs + wait > end) {
        clock.timeMs = end;
        chip.advance();
        return turns;
      }
      clock.timeMs += wait;
    }
  };
  const edges = (line: number) => log.filter((each) => each === `${line} edge`).length;
  return { chip, regs, clock, log, get, set, counter, pass, edges, wakes: () => wakes };
}

test("it says that it has three timers, a counter of 64 bits at 100 MHz, and its routes", () => {
  const { get } = hpet();
  expect(get(ID)).toBe(0x8086a201);
  expect(get(PERIOD)).toBe(10_000_000);
  for (const n of [0, 1, 2]) {
    expect(get(timer(n) + TN_CONFIG)).toBe(TN_CAPABILITIES);
    expect(get(timer(n) + TN_ROUTES)).toBe(ROUTES);
    expect([get(timer(n) + TN_CMP), get(timer(n) + TN_CMP + 4)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  }
  expect(get(timer(3))).toBe(0);
});

test("the counter counts while it is enabled, and can be set", () => {
  const { set, counter, clock } = hpet();
  clock.timeMs += 10;
  expect(counter()).toBe(0);
  set(CONFIG, ENABLE);
  clock.timeMs += 10;
  expect(counter()).toBe(10 * TICKS_PER_MS);
  set(CONFIG, 0);
  clock.timeMs += 10;
  expect(counter()).toBe(10 * TICKS_PER_MS);
  set(COUNTER, 0xffff_fff0);
  set(COUNTER + 4, 7);
  set(CONFIG, ENABLE);
  clock.timeMs += 10;
  expect(counter()).toBe(8 * 2 ** 32 - 16 + 10 * TICKS_PER_MS);
});

test("the halves of the counter are of one moment, if the low one is read first", () => {
  const { get, set, clock } = hpet();
  set(COUNTER, 0xffff_fff0);
  set(CONFIG, ENABLE);
  const low = get(COUNTER);
  clock.timeMs += 1;
  expect([low, get(COUNTER + 4)]).toEqual([0xffff_fff0, 0]);
  expect(get(COUNTER + 4)).toBe(1);
});

test("a timer matches once, as an edge at the input that it is routed to", () => {
  const { set, pass, log, edges, wakes } = hpet();
  set(CONFIG, ENABLE);
  set(timer(2), TN_ENABLE | route(17));
  expect(wakes()).toBe(0); // nothing is due
  set(timer(2) + TN_CMP, 3 * TICKS_PER_MS);
  set(timer(2) + TN_CMP + 4, 0);
  expect(wakes()).toBeGreaterThan(0);
  pass(2.9);
  expect(log).toEqual([]);
  pass(0.2);
  expect(log).toEqual(["17 edge"]);
  expect(pass(1000)).toBe(1);
  expect(edges(17)).toBe(1);
});

test("a periodic timer begins at its comparator and goes on by its period; lost periods are one edge", () => {
  const { get, set, pass, clock, chip, edges } = hpet();
  set(CONFIG, ENABLE);
  set(timer(0), TN_ENABLE | TN_PERIODIC | TN_SETVAL | TN_32BIT | route(2));
  set(timer(0) + TN_CMP, 5 * TICKS_PER_MS);
  set(timer(0) + TN_CMP, 2 * TICKS_PER_MS);
  expect(get(timer(0)) & TN_SETVAL).toBe(0);
  pass(4.9);
  expect(edges(0)).toBe(0); // input 2 is ISA interrupt 0
  pass(0.2);
  expect(edges(0)).toBe(1);
  expect(get(timer(0) + TN_CMP)).toBe(7 * TICKS_PER_MS);
  pass(10);
  expect(edges(0)).toBe(6);
  clock.timeMs += 100;
  chip.advance();
  expect(edges(0)).toBe(7);
  expect(get(timer(0) + TN_CMP)).toBe(117 * TICKS_PER_MS);
});

test("SETVAL is for both halves of a comparator of 64 bits", () => {
  const { get, set } = hpet();
  set(timer(1), TN_PERIODIC | TN_SETVAL);
  set(timer(1) + TN_CMP, 1);
  set(timer(1) + TN_CMP + 4, 2);
  set(timer(1) + TN_CMP, 3);
  set(timer(1) + TN_CMP + 4, 0);
  expect([get(timer(1) + TN_CMP), get(timer(1) + TN_CMP + 4)]).toEqual([1, 2]);
});

test("a comparator of 32 bits comes again when the counter has gone round; the high half reads as zero", () => {
  const { get, set, pass, edges } = hpet();
  set(COUNTER + 4, 5);
  set(CONFIG, ENABLE);
  set(timer(1), TN_ENABLE | TN_32BIT | route(8));
  set(timer(1) + TN_CMP, TICKS_PER_MS);
  expect(get(timer(1) + TN_CMP + 4)).toBe(0);
  pass(2);
  expect(edges(8)).toBe(1);
  pass(2 ** 32 / TICKS_PER_MS);
  expect(edges(8)).toBe(2);
});

test("a level stays until its status is cleared, and falls with its enable bit", () => {
  const { get, set, pass, log } = hpet();
  set(CONFIG, ENABLE);
  set(timer(0), TN_ENABLE | TN_LEVEL | TN_PERIODIC | TN_SETVAL | TN_32BIT | route(16));
  set(timer(0) + TN_CMP, TICKS_PER_MS);
  pass(10);
  expect([log, get(STATUS)]).toEqual([["16 up"], 1]);
  set(STATUS, 0b110);
  expect(log).toEqual(["16 up"]);
  set(STATUS, 1);
  expect(log).toEqual(["16 up", "16 down"]);
  pass(2);
  set(timer(0), TN_LEVEL | route(16));
  expect([log, get(STATUS)]).toEqual([["16 up", "16 down", "16 up", "16 down"], 0]);
});

test("LegacyReplacement: timers 0 and 1 are ISA interrupts 0 and 8, and the i8254 is cut off", () => {
  const { set, pass, log } = hpet();
  for (const n of [0, 1, 2]) {
    set(timer(n), TN_ENABLE | route(23));
    set(timer(n) + TN_CMP, TICKS_PER_MS * (n + 1));
    set(timer(n) + TN_CMP + 4, 0);
  }
  set(CONFIG, ENABLE | LEGACY);
  pass(10);
  expect(log).toEqual(["legacy true", "0 edge", "8 edge", "23 edge"]);
  set(CONFIG, ENABLE);
  expect(log.at(-1)).toBe("legacy false");
});

test("a route that is not possible is not taken, and a timer without one does not interrupt", () => {
  const { get, set, pass, log } = hpet();
  set(CONFIG, ENABLE);
  set(timer(0), TN_ENABLE | route(11));
  expect(get(timer(0)) >> 9).toBe(0);
  set(timer(0) + TN_CMP, 10);
  set(timer(0) + TN_CMP + 4, 0);
  set(timer(1), TN_ENABLE | route(19));
  set(timer(1), TN_ENABLE | route(20));
  expect(get(timer(1)) >> 9).toBe(19);
  pass(1);
  expect(log).toEqual([]);
});

test("a comparator that the counter has passed matches at once: no driver waits for 5849 years", () => {
  const { set, clock, chip, edges } = hpet();
  set(CONFIG, ENABLE);
  clock.timeMs += 10;
  set(timer(2), TN_ENABLE | route(18));
  set(timer(2) + TN_CMP, TICKS_PER_MS);
  set(timer(2) + TN_CMP + 4, 0);
  chip.advance();
  expect(edges(18)).toBe(1);
});

test("only words are written", () => {
  const { chip, get } = hpet();
  chip.write(CONFIG, 1, ENABLE);
  chip.write(CONFIG + 2, 4, ENABLE);
  expect([get(CONFIG), chip.read(ID + 1, 1), chip.read(ID + 2, 2)]).toEqual([0, 0xa2, 0x8086]);
});

devicePromises({
  name: "hpet",
  layout: HpetState,
  length: 0x160,
  build: (regs, world) =>
    new Hpet(regs, {
      clock: world.clock,
      routes: ROUTES,
      drive: (line, asserted) => world.tx.put(line + (asserted ? 100 : 0)),
      pulse: (line) => world.tx.put(line + 200),
      replaceLegacy: (replaced) => world.irq.set(replaced),
      timer: world.signal,
    }),
  disturb: (chip) => void chip.advance(),
});
