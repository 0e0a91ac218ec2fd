/** The registers of an e1000, as its drivers use them. */
import { describe, expect, test } from "vitest";
import { E1000 } from "../../../src/e1000/e1000.ts";
import * as reg from "../../../src/e1000/registers.ts";
import { parseMac } from "../../../src/net/mac.ts";
import { devicePromises } from "../../support/device-promises.ts";
import { E1000Rig, EOP, IFCS, MAC, RS } from "../../support/e1000-driver.ts";

/** All registers, one after the other, so that random accesses meet them. */
const OFFSETS = Object.entries(reg).flatMap(([name, value]) =>
  /^[A-Z_]+$/.test(name) && !name.includes("_") && typeof value === "number" && value < 0x6000 ? [value] : [],
);

devicePromises({
  name: "e1000",
  layout: reg.E1000State,
  length: 4 * OFFSETS.length,
  build(regs, world) {
    const card = new E1000(parseMac(MAC), regs, { irq: world.irq, work: world.signal });
    const place = (offset: number) => OFFSETS[offset >> 2] + (offset & 3);
    return {
      read: (offset, size) => card.read(place(offset), size),
      write: (offset, size, value) => card.write(place(offset), size, value),
      reset: () => card.reset(),
    };
  },
});

const EECD_SK = 1;
const EECD_CS = 2;
const EECD_DI = 4;
const EECD_DO = 8;

/** Reads a word bit by bit, as Linux's e1000_read_eeprom. */
function microwire(rig: E1000Rig, address: number): number {
  let eecd = EECD_CS;
  const clock = () => {
    rig.out(reg.EECD, eecd | EECD_SK);
    const bit = rig.in(reg.EECD) & EECD_DO;
    rig.out(reg.EECD, eecd);
    return bit === 0 ? 0 : 1;
  };
  rig.out(reg.EECD, eecd);
  for (let n = 8; n >= 0; n--) {
    eecd = EECD_CS | ((((0b110 << 6) | address) >> n) & 1 ? EECD_DI : 0);
    rig.out(reg.EECD, eecd);
    clock();
  }
  eecd = EECD_CS;
  let word = 0;
  for (let n = 0; n < 16; n++) word = (word << 1) | clock();
  rig.out(reg.EECD, 0);
  return word;
}

function eerd(rig: E1000Rig, address: number): number {
  rig.out(reg.EERD, (address << 8) | reg.EERD_START);
  const value = rig.in(reg.EERD);
  expect(value & reg.EERD_DONE).toBe(reg.EERD_DONE);
  return value >>> 16;
}

describe("EEPROM", () => {
  test("both ways to read it give the address and a checksum of 0xbaba", () => {
    const rig = new E1000Rig();
    for (const read of [microwire, eerd]) {
      const words = Array.from({ length: 64 }, (_, n) => read(rig, n));
      expect(words.slice(0, 3)).toEqual([0x5452, 0x1200, 0x5634]);
      expect(words.reduce((sum, word) => sum + word, 0) & 0xffff).toBe(0xbaba);
      expect(words[0x0d]).toBe(0x100e);
    }
  });

  test("access is granted when it is requested", () => {
    const rig = new E1000Rig();
    expect(rig.in(reg.EECD) & 0xc0).toBe(0);
    rig.out(reg.EECD, 0x40);
    expect(rig.in(reg.EECD) & 0xc0).toBe(0xc0);
  });
});

describe("PHY", () => {
  const read = (rig: E1000Rig, register: number, phy = 1) => {
    rig.out(reg.MDIC, (2 << 26) | (phy << 21) | (register << 16));
    return rig.in(reg.MDIC);
  };

  test("it is an 88E1011 with a link, which goes down and up as its owner says", () => {
    const rig = new E1000Rig();
    expect([read(rig, 2) & 0xffff, read(rig, 3) & 0xffff]).toEqual([0x0141, 0x0c20]);
    expect(read(rig, 1) & 0x24).toBe(0x24);
    expect(rig.in(reg.STATUS) & reg.STATUS_LU).toBe(reg.STATUS_LU);
    rig.out(reg.IMS, reg.ICR_LSC);
    const { link } = rig.card.properties();
    link.set?.(0);
    expect(rig.level).toBe(true);
    expect(rig.in(reg.ICR)).toBe(reg.ICR_LSC);
    expect([read(rig, 1) & 0x24, rig.in(reg.STATUS) & reg.STATUS_LU, link.get()]).toEqual([0, 0, 0]);
    link.set?.(1);
    expect(rig.in(reg.STATUS) & reg.STATUS_LU).toBe(reg.STATUS_LU);
  });

  test("there is no PHY at another address, and its identity is not written", () => {
    const rig = new E1000Rig();
    expect(read(rig, 2, 2) & (1 << 30)).not.toBe(0);
    rig.out(reg.MDIC, (1 << 26) | (1 << 21) | (2 << 16) | 0x1234);
    expect(read(rig, 2) & 0xffff).toBe(0x0141);
  });
});

describe("interrupts", () => {
  test("a cause interrupts if it is enabled, and reading the causes acknowledges all", () => {
    const rig = new E1000Rig();
    rig.out(reg.ICS, reg.ICR_TXDW | reg.ICR_RXT0);
    expect(rig.level).toBe(false);
    rig.out(reg.IMS, reg.ICR_TXDW);
    expect(rig.level).toBe(true);
    expect(rig.in(reg.ICR)).toBe(reg.ICR_TXDW | reg.ICR_RXT0);
    expect([rig.level, rig.in(reg.ICR)]).toEqual([false, 0]);
    rig.out(reg.ICS, reg.ICR_TXDW);
    rig.out(reg.IMC, reg.ICR_TXDW);
    expect([rig.level, rig.in(reg.IMS)]).toEqual([false, 0]);
  });

  test("ITR is the least time between two interrupts, of which a pause sees none", () => {
    const rig = new E1000Rig().start();
    rig.out(reg.ITR, 7812); // 2 ms
    rig.out(reg.IMS, reg.ICR_RXT0);
    rig.timeMs = 100;
    rig.receive(new Uint8Array(60).fill(0xff));
    expect(rig.level).toBe(true);
    rig.in(reg.ICR);
    rig.timeMs = 100.5;
    rig.backend.incoming.push(new Uint8Array(60).fill(0xff));
    expect(rig.task.turn(1)).toBeCloseTo(1.5, 2);
    expect(rig.level).toBe(false);
    rig.timeMs = 102;
    rig.task.turn(1);
    expect(rig.level).toBe(true);
    rig.in(reg.ICR);
    rig.timeMs = 102.1;
    rig.receive(new Uint8Array(60).fill(0xff));
    expect(rig.level).toBe(false);
    rig.task.quiesce();
    expect(rig.level).toBe(true);
  });
});

test("a reset by the I/O BAR forgets the rings, and keeps address and link", () => {
  const rig = new E1000Rig().start();
  rig.card.properties().link.set?.(0);
  rig.out(reg.RA, 0x11111111);
  rig.ports.write(0, 4, reg.CTRL);
  rig.ports.write(4, 4, reg.CTRL_RST);
  expect([rig.in(reg.TDLEN), rig.in(reg.RCTL), rig.in(reg.STATUS) & reg.STATUS_LU]).toEqual([0, 0, 0]);
  expect([rig.in(reg.RA), rig.in(reg.RA + 4)]).toEqual([0x12005452, 0x80005634]);
  expect(rig.ports.read(0, 4)).toBe(reg.CTRL);
  rig.ports.write(0, 4, 0xffff_fffc);
  rig.ports.write(4, 4, 1);
  expect(rig.ports.read(4, 4)).toBe(0);
});

test("statistics count frames and bytes, and are cleared when they are read", () => {
  const rig = new E1000Rig().start();
  rig.queue(0, new Uint8Array(100), EOP | IFCS | RS);
  rig.send(1);
  rig.receive(new Uint8Array(200).fill(0xff));
  const [gprc, bprc, gptc, gotcl, gotch, ptc127] = [0x4074, 0x4078, 0x4080, 0x4090, 0x4094, 0x40dc];
  expect([gprc, bprc, gptc, gotcl, gotch, ptc127].map((at) => rig.in(at))).toEqual([1, 1, 1, 104, 0, 1]);
  expect([gprc, bprc, gptc, gotcl, gotch, ptc127].map((at) => rig.in(at))).toEqual([0, 0, 0, 0, 0, 0]);
});
