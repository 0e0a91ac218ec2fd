import { describe, expect, test } from "vitest";
import { AtapiCd } from "../../../src/ide/atapi-cd.ts";
import { BSY, DRQ, ERR, IdeDriver, IdeRig, pattern, RAM } from "../../support/ide-driver.ts";

const READY = 0x50;
const BLOCK = 2048;
const NOT_READY = [2, 0x3a];

function cd(options: ConstructorParameters<typeof IdeRig>[1] = {}) {
  const rig = new IdeRig([undefined, undefined, "cd"], options);
  const driver = new IdeDriver(rig, 2);
  const [, , drive] = rig.units;
  if (!(drive instanceof AtapiCd)) throw new Error("not a CD drive");
  return { rig, driver, drive };
}

/** The answer to a packet. */
function ask(driver: IdeDriver, packet: readonly number[]): number[] {
  driver.packet(packet);
  return [...driver.read(1 << 20)];
}

/** Its outcome: 0, or the sense key and the additional code. */
function outcome(driver: IdeDriver, packet: readonly number[]): number[] {
  driver.packet(packet);
  driver.read(1 << 20);
  if ((driver.status & ERR) === 0) return [0];
  const key = driver.error >> 4;
  const [sense, asc] = driver.sense();
  expect(sense).toBe(key);
  return [key, asc];
}

const TEST_READY = [0x00];
const read10 = (lba: number, blocks: number) => [
  0x28,
  0,
  0,
  0,
  lba >> 8,
  lba & 0xff,
  0,
  blocks >> 8,
  blocks & 0xff,
];

test("it signs as a packet device, also where IDENTIFY DEVICE is asked of it", () => {
  const { rig, driver } = cd();
  driver.select();
  expect([driver.status, driver.error, ...driver.registers]).toEqual([0, 1, 1, 1, 0x14, 0xeb]);
  driver.command(0xec);
  expect([driver.status & ERR, driver.error, ...driver.registers.slice(2)]).toEqual([ERR, 4, 0x14, 0xeb]);
  driver.command(0xa1);
  const bytes = driver.read(1024);
  expect([bytes.length, bytes[0], bytes[1]]).toEqual([512, 0xc0, 0x85]);
  expect(String.fromCharCode(bytes[55], bytes[54], bytes[57], bytes[56])).toBe("VMEX");
  expect(driver.status).toBe(READY);
  expect(rig.storage[2].calls).toEqual([]);
});

test("a packet: command phase, data phases as long as the driver said, status phase", () => {
  const { rig, driver } = cd();
  driver.select();
  rig.out(0x11, 0);
  rig.out(0x14, 0x00);
  rig.out(0x15, 0x08);
  rig.out(0x17, 0xa0);
  expect([driver.alternate & (BSY | DRQ), rig.in(0x12), rig.lines[1]]).toEqual([DRQ, 1, false]);
  driver.write(Uint8Array.from([...read10(2, 3), 0, 0, 0]));
  for (const block of [2, 3, 4]) {
    expect([rig.lines[1], rig.in(0x12), rig.in(0x14), rig.in(0x15)]).toEqual([true, 2, 0, 8]);
    expect(driver.status & DRQ).toBe(DRQ);
    expect(driver.read(BLOCK)).toEqual(
      Uint8Array.from({ length: BLOCK }, (_, i) => pattern(2, block * BLOCK + i)),
    );
  }
  expect([rig.lines[1], rig.in(0x12), driver.status]).toEqual([true, 3, READY]);
});

test("an odd limit is rounded down, except for the rest", () => {
  const { rig, driver } = cd();
  driver.packet([0x12, 0, 0, 0, 36], { limit: 13 });
  const lengths: number[] = [];
  while (driver.status & DRQ) {
    const length = rig.in(0x14);
    lengths.push(length);
    driver.read(length);
  }
  expect(lengths).toEqual([12, 12, 12]);
  driver.packet([0x12, 0, 0, 0, 36], { limit: 0 });
  expect([driver.status & ERR, driver.error]).toEqual([ERR, 4]);
});

test("READ 10, READ 12 and READ CD by PIO, more than fit the buffer", () => {
  const { driver } = cd();
  const expected = Array.from({ length: 20 * BLOCK }, (_, i) => pattern(2, 7 * BLOCK + i));
  expect(ask(driver, read10(7, 20))).toEqual(expected);
  expect(ask(driver, [0xa8, 0, 0, 0, 0, 7, 0, 0, 0, 20])).toEqual(expected);
  expect(ask(driver, [0xbe, 0, 0, 0, 0, 7, 0, 0, 20, 0x10])).toEqual(expected);
  expect(outcome(driver, [0xbe, 0, 0, 0, 0, 7, 0, 0, 20, 0])).toEqual([0]);
  expect(outcome(driver, [0xbe, 0, 0, 0, 0, 7, 0, 0, 20, 0x20])).toEqual([5, 0x24]);
});

function rawBlock(lba: number): number[] {
  const frames = lba + 150;
  const header = [0, ...new Array(10).fill(0xff), 0, 0, Math.floor(frames / 75), frames % 75, 1];
  header[13] = (Math.floor(header[13] / 10) << 4) | (header[13] % 10);
  header[14] = (Math.floor(header[14] / 10) << 4) | (header[14] % 10);
  const data = Array.from({ length: BLOCK }, (_, i) => pattern(2, lba * BLOCK + i));
  return [...header, ...data, ...new Array(2352 - 16 - BLOCK).fill(0)];
}

test.each([false, true])("READ CD with all of each block, DMA %s", (dma) => {
  const { rig, driver } = cd();
  const expected = Array.from({ length: 30 }, (_, n) => rawBlock(3 + n)).flat();
  const packet = [0xbe, 0, 0, 0, 0, 3, 0, 0, 30, 0xf8];
  if (dma) {
    rig.table(RAM, [
      [RAM + 0x1000, 0],
      [RAM + 0x11000, 30 * 2352 - 65536],
    ]);
    expect(driver.dma(RAM, true, () => driver.packet(packet, { dma }))).toBe(0x64);
    expect([...rig.ram(RAM + 0x1000, 30 * 2352)]).toEqual(expected);
  } else {
    expect(ask(driver, packet)).toEqual(expected);
  }
  expect(driver.status).toBe(READY);
});

test("READ by DMA goes straight to the guest's pages; other answers do too", () => {
  const { rig, driver } = cd();
  rig.table(RAM, [[RAM + 0x1000, 3 * BLOCK]]);
  expect(driver.dma(RAM, true, () => driver.packet(read10(1, 3), { dma: true }))).toBe(0x64);
  expect([...rig.ram(RAM + 0x1000, 3 * BLOCK)]).toEqual(
    Array.from({ length: 3 * BLOCK }, (_, i) => pattern(2, BLOCK + i)),
  );
  expect(rig.storage[2].calls).toEqual(["readv 2048"]);
  driver.dma(RAM, true, () => driver.packet([0x25], { dma: true }));
  expect([...rig.ram(RAM + 0x1000, 8)]).toEqual([0, 0, 0, 63, 0, 0, 8, 0]);
  expect([driver.status, rig.in(0x12)]).toEqual([READY, 3]);
});

test("what is wrong with a packet", () => {
  const { rig, driver } = cd();
  expect(outcome(driver, read10(63, 2))).toEqual([5, 0x21]);
  expect(outcome(driver, [0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])).toEqual([5, 0x21]);
  expect(outcome(driver, read10(63, 0))).toEqual([0]);
  expect(outcome(driver, [0xff])).toEqual([5, 0x20]);
  expect(outcome(driver, [0x12, 1, 0, 0, 36])).toEqual([5, 0x24]);
  driver.select();
  rig.out(0x11, 2);
  rig.out(0x17, 0xa0);
  expect([driver.status & ERR, driver.error]).toEqual([ERR, 4]);
  rig.storage[2].failure = -5;
  expect(outcome(driver, read10(0, 1))).toEqual([3, 0x11]);
});

test("INQUIRY, READ CAPACITY, MECHANISM STATUS, READ DISC INFORMATION", () => {
  const { driver } = cd();
  const inquiry = ask(driver, [0x12, 0, 0, 0, 96]);
  expect(inquiry.slice(0, 5)).toEqual([5, 0x80, 0, 0x21, 31]);
  expect(String.fromCharCode(...inquiry.slice(8, 36))).toBe("VMEXIT  DRIVE2          1.0 ");
  expect(ask(driver, [0x25])).toEqual([0, 0, 0, 63, 0, 0, 8, 0]);
  expect(ask(driver, [0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8])).toEqual([0, 0, 0, 0, 0, 1, 0, 0]);
  expect(ask(driver, [0x51, 0, 0, 0, 0, 0, 0, 0, 4])).toEqual([0, 32, 0x0e, 1]);
});

test("READ TOC: formats 0 to 2, by block and by time", () => {
  const { driver } = cd();
  const toc = (format: number, start: number, msf = 0) =>
    ask(driver, [0x43, msf, format, 0, 0, 0, start, 0, 200]);
  expect(toc(0, 0)).toEqual([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, 64]);
  expect(toc(0, 0xaa, 2)).toEqual([0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 2, 64]);
  expect(toc(1, 0)).toEqual([0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
  expect(toc(2, 0).length).toBe(48);
  expect(outcome(driver, [0x43, 0, 0, 0, 0, 0, 2, 0, 200])).toEqual([5, 0x24]);
  expect(outcome(driver, [0x43, 0, 5, 0, 0, 0, 0, 0, 200])).toEqual([5, 0x24]);
});

test("GET CONFIGURATION: the profile is the medium's; one feature, or those that are current", () => {
  const { driver, drive } = cd();
  const features = (kind: number, first: number) => ask(driver, [0x46, kind, 0, first, 0, 0, 0, 1, 0]);
  expect(features(0, 0).slice(6, 8)).toEqual([0, 8]);
  expect(features(2, 3).slice(8)).toEqual([0, 3, 3, 4, 0x29, 0, 0, 0]);
  expect(features(1, 0x1e).slice(8)).toEqual([0, 0x1e, 1, 0]);
  expect(features(0, 0x1e).slice(8)).toEqual([0, 0x1e, 1, 0, 0, 0x1f, 0, 0]);
  drive.regs.mediaSectors = 4_000_000_000 / 512;
  expect(features(0, 0).slice(6, 8)).toEqual([0, 0x10]);
  drive.regs.mediaSectors = 0;
  expect(features(0, 0).slice(6, 8)).toEqual([0, 0]);
  expect(outcome(driver, [0x46, 3, 0, 0, 0, 0, 0, 1, 0])).toEqual([5, 0x24]);
});

test("MODE SENSE: the error and capability pages, alone or together", () => {
  const { driver } = cd();
  const mode = (page: number) => ask(driver, [0x5a, 0, page, 0, 0, 0, 0, 0, 100]);
  expect(mode(0x2a).slice(0, 10)).toEqual([0, 26, 0x70, 0, 0, 0, 0, 0, 0x2a, 18]);
  expect(mode(0x01)).toEqual([0, 14, 0x70, 0, 0, 0, 0, 0, 1, 6, 0, 5, 0, 0, 0, 0]);
  expect(mode(0x3f).length).toBe(36);
  expect(mode(0x41).slice(8)).toEqual([1, 6, 0, 0, 0, 0, 0, 0]);
  expect(outcome(driver, [0x5a, 0, 0x0d, 0, 0, 0, 0, 0, 100])).toEqual([5, 0x24]);
  expect(outcome(driver, [0x5a, 0, 0xea, 0, 0, 0, 0, 0, 100])).toEqual([5, 0x39]);
});

const events = (driver: IdeDriver) => ask(driver, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);

describe("the medium and the tray", () => {
  test("an empty drive is not ready", () => {
    const { driver } = cd({ cdBytes: 0 });
    expect(outcome(driver, TEST_READY)).toEqual(NOT_READY);
    expect(driver.sense()).toEqual([0, 0, 0]); // reported once
    expect(outcome(driver, [0x25])).toEqual(NOT_READY);
    expect(events(driver)).toEqual([0, 6, 4, 0x10, 0, 0, 0, 0]);
  });

  test("the guest ejects, and closes the tray with the same medium", () => {
    const { driver } = cd();
    expect(outcome(driver, [0x1b, 0, 0, 0, 2])).toEqual([0]);
    expect(events(driver)).toEqual([0, 6, 4, 0x10, 3, 3, 0, 0]);
    driver.packet(TEST_READY);
    expect(driver.sense()).toEqual([2, 0x3a, 2]);
    expect(outcome(driver, [0x1b, 0, 0, 0, 3])).toEqual([0]);
    expect(outcome(driver, TEST_READY)).toEqual([6, 0x28]);
    expect(outcome(driver, TEST_READY)).toEqual([0]);
    expect(events(driver)[4]).toBe(2);
    expect(events(driver)[4]).toBe(0);
  });

  test("another medium: one command reports it, INQUIRY and REQUEST SENSE do not", () => {
    const { rig, driver, drive } = cd();
    drive.insert(rig.storage[2].size / 512 - 8);
    expect(ask(driver, [0x12, 0, 0, 0, 36]).length).toBe(36);
    expect(outcome(driver, read10(0, 1))).toEqual([6, 0x28]);
    expect(ask(driver, [0x25])).toEqual([0, 0, 0, 61, 0, 0, 8, 0]);
    expect(events(driver)[4]).toBe(2);
  });

  test("a locked drive: the guest cannot eject it, and learns that somebody wants to", () => {
    const { driver, drive } = cd();
    expect(outcome(driver, [0x1e, 0, 0, 0, 1])).toEqual([0]);
    expect(outcome(driver, [0x1b, 0, 0, 0, 2])).toEqual([5, 0x53]);
    expect(drive.eject()).toBe(false);
    expect(events(driver)[4]).toBe(1);
    expect(outcome(driver, TEST_READY)).toEqual([0]);
    expect(outcome(driver, [0x1e])).toEqual([0]);
    expect(drive.eject()).toBe(true);
    expect(events(driver)).toEqual([0, 6, 4, 0x10, 3, 1, 0, 0]);
    expect(outcome(driver, TEST_READY)).toEqual(NOT_READY);
  });

  test("a locked drive opens by force, and is unlocked then", () => {
    const { driver, drive } = cd();
    expect(outcome(driver, [0x1e, 0, 0, 0, 1])).toEqual([0]);
    expect(drive.eject(true)).toBe(true);
    expect(outcome(driver, TEST_READY)).toEqual(NOT_READY);
    expect(events(driver)).toEqual([0, 6, 4, 0x10, 3, 1, 0, 0]);
    expect(outcome(driver, [0x1b, 0, 0, 0, 3])).toEqual([0]);
    expect(outcome(driver, [0x1b, 0, 0, 0, 2])).toEqual([0]);
  });

  test("a READ in the middle of which the medium is changed gets no byte of the other one", () => {
    const { rig, driver, drive } = cd();
    for (const [sense, change] of [
      [NOT_READY, () => drive.eject()],
      [[6, 0x28], () => [drive.eject(), drive.insert(rig.storage[2].size / 512)]],
    ] as const) {
      driver.packet(read10(0, 20)); // 16 blocks are in the buffer
      driver.read(BLOCK);
      change();
      for (let n = 1; n < 16; n++) expect(driver.read(BLOCK)).toHaveLength(BLOCK);
      expect([driver.status & (ERR | DRQ), driver.error >> 4]).toEqual([ERR, sense[0]]);
      expect(driver.sense().slice(0, 2)).toEqual(sense);
      drive.insert(rig.storage[2].size / 512);
      outcome(driver, TEST_READY);
    }
  });

  test("a READ that the io thread has not begun fails when the medium is taken out", () => {
    const { rig, driver, drive } = cd();
    rig.serves = false;
    driver.select();
    driver.packet(read10(0, 1));
    expect(driver.alternate & BSY).toBe(BSY);
    expect(drive.eject()).toBe(true);
    expect([driver.status & (BSY | ERR), driver.error >> 4]).toEqual([ERR, 2]);
    rig.serves = true;
    rig.work();
    expect(rig.storage[2].calls).toEqual([]);
  });

  test("GET EVENT STATUS only polls", () => {
    const { driver } = cd();
    expect(outcome(driver, [0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8])).toEqual([5, 0x24]);
    expect(ask(driver, [0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8])).toEqual([0, 2, 0x80, 0x10]);
  });
});

test("commands of disks are aborted; modes and power are accepted", () => {
  const { driver } = cd();
  for (const command of [0x20, 0x30, 0xc8, 0x91, 0xc6, 0xb0, 0x27]) {
    driver.command(command);
    expect([command, driver.status & ERR, driver.error]).toEqual([command, ERR, 4]);
  }
  driver.command(0xef, { feature: 3, count: 0x42 });
  expect(driver.status).toBe(READY);
  driver.command(0xe5);
  expect([driver.status, driver.registers[0]]).toEqual([READY, 0xff]);
});
