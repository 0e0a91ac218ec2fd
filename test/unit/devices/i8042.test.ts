import { expect, test } from "vitest";
import { I8042, I8042State } from "../../../src/devices/i8042.ts";

const DATA = 0;
const COMMAND = 4; // and, read, the status
const OBF = 0x01;
const IBF = 0x02;

function i8042() {
  const irq = {
    level: false,
    edges: 0,
    set: (level: boolean) => {
      if (level && !irq.level) irq.edges++;
      irq.level = level;
    },
  };
  const power = { resets: 0, off() {}, reset: () => void power.resets++, exit() {} };
  const chip = new I8042(I8042State.view(new SharedArrayBuffer(I8042State.size), 0), irq, power);
  chip.reset();
  const status = () => chip.read(COMMAND, 1);
  const take = () => {
    expect(status() & OBF).toBe(OBF);
    return chip.read(DATA, 1);
  };
  const command = (value: number) => chip.write(COMMAND, 1, value);
  const data = (value: number) => chip.write(DATA, 1, value);
  return { irq, power, status, take, command, data };
}

test("is never busy and not full at power-on, so that nobody waits or flushes", () => {
  const { status } = i8042();
  expect(status() & (OBF | IBF)).toBe(0);
  expect(status() & 0x10).toBe(0x10); // not locked
});

test("passes its self-test, and says so in the status", () => {
  const { command, take, status } = i8042();
  command(0xaa);
  expect(take()).toBe(0x55);
  expect(status() & (OBF | 0x04)).toBe(0x04);
});

test("the command byte reads back as written", () => {
  const { command, data, take } = i8042();
  command(0x60);
  data(0x74);
  command(0x20);
  expect(take()).toBe(0x74);
  command(0xa8); // enable the mouse port
  command(0xae); // enable the keyboard port
  command(0x20);
  expect(take()).toBe(0x44);
  command(0xa7);
  command(0xad);
  command(0x20);
  expect(take()).toBe(0x74);
});

// drivers/input/serio/i8042.c, i8042_check_aux(): silence to either command costs it half a second.
test("Linux learns at once that there is no mouse port", () => {
  const { command, data, take, status } = i8042();
  command(0xd3);
  data(0x5a);
  expect(status() & 0x20).toBe(0); // not from a mouse port
  take();
  command(0xa9);
  expect(take()).toBe(0x01);
});

test("Linux learns at once that there is no keyboard: GETID and SETLEDS are refused, with an interrupt", () => {
  const { irq, command, data, take } = i8042();
  command(0x60);
  data(0x01); // KBDINT
  for (const byte of [0xf2, 0xed]) {
    data(byte);
    expect(irq.level).toBe(true);
    expect(take()).toBe(0xfe);
    expect(irq.level).toBe(false);
  }
});

test("a keyboard reset is acknowledged and passes, one interrupt for each byte", () => {
  const { irq, command, data, take, status } = i8042();
  command(0x60);
  data(0x01);
  data(0xff);
  expect([take(), take()]).toEqual([0xfa, 0xaa]);
  expect(irq.edges).toBe(2);
  expect(status() & OBF).toBe(0);
});

test("no interrupt unless the command byte asks for it", () => {
  const { irq, command, data, take } = i8042();
  data(0xff);
  take();
  expect(irq.edges).toBe(0);
  command(0x60);
  data(0x01);
  expect(irq.level).toBe(true); // the second byte is still there
});

test("0xfe resets the machine, and of the pulses only those that reach the reset line", () => {
  const { command, power } = i8042();
  command(0xfe);
  expect(power.resets).toBe(1);
  command(0xff);
  command(0xfd);
  expect(power.resets).toBe(1);
});

test("the output port resets the machine too; A20 is always on", () => {
  const { command, data, take, power } = i8042();
  command(0xd0);
  expect(take()).toBe(0x03);
  command(0xd1);
  data(0x03);
  expect(power.resets).toBe(0);
  command(0xd1);
  data(0x02);
  expect(power.resets).toBe(1);
});

test("a command that takes no argument forgets one that waited for it", () => {
  const { command, data, take, power } = i8042();
  command(0xd1);
  command(0xaa);
  take();
  data(0x02); // to the keyboard, not to the output port
  expect(power.resets).toBe(0);
  expect(take()).toBe(0xfe);
});
