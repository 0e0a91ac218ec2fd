import { expect, test } from "vitest";
import { layout } from "../../../src/base/layout.ts";
import { ByteWide } from "../../../src/bus/byte-wide.ts";
import { AtaDisk } from "../../../src/ide/ata-disk.ts";
import { AtapiCd } from "../../../src/ide/atapi-cd.ts";
import { Channel, type ChannelState } from "../../../src/ide/channel.ts";
import { DONE, type DriveWires } from "../../../src/ide/drive.ts";
import { DriveState } from "../../../src/ide/drive-state.ts";
import { BusMaster, PiixIde } from "../../../src/ide/piix-ide.ts";
import { devicePromises } from "../../support/device-promises.ts";
import { BSY, DRQ, ERR, IdeDriver, IdeRig, pattern, RAM } from "../../support/ide-driver.ts";

const READY = 0x50;
const NIEN = 2;
const SRST = 4;

test("the registers of a drive that is not there read as 0, and its commands do nothing", () => {
  const rig = new IdeRig(["disk"]);
  for (const unit of [1, 2, 3]) {
    const driver = new IdeDriver(rig, unit);
    driver.command(0xec);
    for (let register = 0; register <= 8; register++) expect(rig.in(driver.base + register)).toBe(0);
  }
  expect(rig.edges).toEqual([0, 0]);
  const first = new IdeDriver(rig, 0);
  first.select();
  expect(first.status).toBe(READY);
});

test("a driver finds a drive by writing two registers and reading them back", () => {
  const rig = new IdeRig(["disk", undefined, undefined, "cd"]);
  const found = [0, 1, 2, 3].map((unit) => {
    const driver = new IdeDriver(rig, unit);
    driver.select();
    rig.out(driver.base + 2, 0x55);
    rig.out(driver.base + 3, 0xaa);
    return rig.in(driver.base + 2) === 0x55 && rig.in(driver.base + 3) === 0xaa;
  });
  expect(found).toEqual([true, false, false, true]);
});

test("both drives take the registers, and one of them carries out the command", () => {
  const rig = new IdeRig(["disk", "disk"]);
  const [first, second] = [new IdeDriver(rig, 0), new IdeDriver(rig, 1)];
  first.command(0x20, { lba: 3, count: 1 });
  second.select(0x40); // ignored: the selected drive has data
  expect(rig.in(6)).toBe(0xe0);
  first.read(512);
  second.select(0x40);
  expect(rig.in(6)).toBe(0xf0);
  expect(second.registers).toEqual([1, 3, 0, 0]);
  rig.out(7, 0x20);
  expect(second.read(512)[5]).toBe(pattern(1, 3 * 512 + 5));
});

test("the line is the selected drive's: its status ends it, the alternate status does not", () => {
  const rig = new IdeRig(["disk", "disk"]);
  const [first, second] = [new IdeDriver(rig, 0), new IdeDriver(rig, 1)];
  first.command(0xe0);
  expect([rig.lines[0], first.alternate, rig.lines[0]]).toEqual([true, READY, true]);
  second.select();
  expect(rig.lines[0]).toBe(false);
  first.select();
  expect(rig.lines[0]).toBe(true);
  expect(first.status).toBe(READY);
  expect(rig.lines[0]).toBe(false);
});

test("nIEN holds the line back, and neither the bus master nor the guest sees an interrupt", () => {
  const rig = new IdeRig(["disk"]);
  const driver = new IdeDriver(rig, 0);
  rig.out(8, NIEN);
  driver.command(0xe0);
  expect([rig.lines[0], rig.inMaster(2) & 4]).toEqual([false, 0]);
  rig.out(8, 0);
  expect([rig.lines[0], rig.inMaster(2) & 4]).toEqual([true, 4]);
});

test("EXECUTE DEVICE DIAGNOSTIC: both drives sign, drive 0 is selected and interrupts", () => {
  const rig = new IdeRig(["disk", "cd"]);
  const [disk, cd] = [new IdeDriver(rig, 0), new IdeDriver(rig, 1)];
  cd.command(0x90);
  expect(rig.in(6)).toBe(0xa0);
  expect([disk.alternate, disk.error, ...disk.registers]).toEqual([READY, 1, 1, 1, 0, 0]);
  expect(rig.lines[0]).toBe(true);
  cd.select();
  expect([cd.status, cd.error, ...cd.registers]).toEqual([0, 1, 1, 1, 0x14, 0xeb]);
});

test.each([
  ["between two sectors", false],
  ["while the storage reads", true],
])("a software reset %s drops the command", (_, inFlight) => {
  const rig = new IdeRig(["disk", "cd", "disk"]);
  const [driver, other] = [new IdeDriver(rig, 0), new IdeDriver(rig, 2)];
  other.command(0xe0);
  rig.storage[0].later = inFlight;
  rig.storage[0].slow = inFlight;
  driver.command(0x20, { count: 100 });
  if (inFlight) expect(driver.status).toBe(BSY);
  else driver.read(700);
  rig.out(8, SRST);
  expect(driver.status).toBe(BSY);
  expect(rig.in(0, 2)).toBe(0);
  rig.out(8, 0);
  expect([driver.status, driver.error, ...driver.registers]).toEqual([READY, 1, 1, 1, 0, 0]);
  expect(rig.lines).toEqual([false, true]);
  expect(other.status).toBe(READY);
  rig.work();
  expect(driver.status).toBe(READY);
  driver.command(0x20, { lba: 8, count: 1 });
  rig.task.quiesce();
  expect(driver.read(512)[0]).toBe(pattern(0, 8 * 512));
});

test("a reset while DMA is in flight waits until the guest's memory is no longer written", () => {
  const rig = new IdeRig(["disk"]);
  const driver = new IdeDriver(rig, 0);
  rig.storage[0].later = true;
  rig.storage[0].slow = true;
  rig.table(RAM, [[RAM + 0x1000, 512]]);
  rig.outMaster(4, RAM, 4);
  rig.outMaster(0, 9);
  driver.command(0xc8, { count: 1 });
  expect(rig.units[0].regs.busy).toBe(1);
  rig.out(8, SRST);
  expect(rig.units[0].regs.busy).toBe(0);
  rig.out(8, 0);
  expect([driver.status, rig.lines[0]]).toEqual([READY, false]);
});

test("DEVICE RESET reaches a CD drive that is busy, and no disk", () => {
  const rig = new IdeRig(["cd", "disk"]);
  const [cd, disk] = [new IdeDriver(rig, 0), new IdeDriver(rig, 1)];
  cd.packet([0x28, 0, 0, 0, 0, 0, 0, 0, 2]);
  cd.read(100);
  expect(cd.status & DRQ).toBe(DRQ);
  rig.out(7, 0x08);
  expect([cd.status, ...cd.registers]).toEqual([0, 1, 1, 0x14, 0xeb]);
  disk.command(0x20, { count: 1 });
  rig.out(7, 0x08);
  expect(disk.status).toBe(READY | DRQ);
});

test("commands and register writes are ignored while a drive has data", () => {
  const rig = new IdeRig(["disk"]);
  const driver = new IdeDriver(rig, 0);
  driver.command(0x20, { lba: 4, count: 1 });
  rig.out(3, 99);
  rig.out(7, 0xe0);
  expect(rig.in(3)).toBe(4);
  expect(driver.read(512).length).toBe(512);
});

test("the data register is as wide as the access, whatever the widths before", () => {
  const rig = new IdeRig(["disk"]);
  const driver = new IdeDriver(rig, 0);
  driver.command(0x20, { count: 1 });
  const bytes = [...driver.read(3, 1), ...driver.read(1, 1), ...driver.read(8, 4), ...driver.read(500, 2)];
  expect(bytes).toEqual(Array.from({ length: 512 }, (_, i) => pattern(0, i)));
  expect(driver.status).toBe(READY);
});

test("blocks for rep ins and rep outs are what single reads and writes are", () => {
  const rig = new IdeRig(["disk"]);
  const driver = new IdeDriver(rig, 0);
  driver.command(0x20, { lba: 1, count: 3 });
  const into = new Uint8Array(1100);
  expect(rig.chip.readBlock(0, 2, into, 4, 1024)).toBe(512);
  expect(rig.chip.readBlock(0, 2, into, 516, 200)).toBe(200);
  expect(into.subarray(4, 716)).toEqual(Uint8Array.from({ length: 712 }, (_, i) => pattern(0, 512 + i)));
  expect(rig.in(0, 2)).toBe(pattern(0, 1224) + 256 * pattern(0, 1225));
  expect(rig.chip.readBlock(2, 1, into, 0, 10)).toBe(0);
  rig.out(8, SRST);
  rig.out(8, 0);
  expect(rig.chip.readBlock(0, 2, into, 0, 512)).toBe(0);
  driver.command(0x30, { lba: 20, count: 2 });
  const from = Uint8Array.from({ length: 1024 }, (_, i) => (i * 11) & 0xff);
  expect(rig.chip.writeBlock(0, 2, from, 0, 1024)).toBe(512);
  expect(rig.chip.writeBlock(0, 2, from, 512, 512)).toBe(512);
  rig.work();
  expect(rig.storage[0].bytes.subarray(20 * 512, 22 * 512)).toEqual(from);
});

test("registers of the bus master", () => {
  const rig = new IdeRig(["disk", undefined, "disk"]);
  rig.outMaster(12, 0x1234_5677, 4);
  expect([rig.inMaster(4, 4), rig.inMaster(12, 4)]).toEqual([0, 0x1234_5674]);
  rig.outMaster(2, 0xff);
  expect(rig.inMaster(2)).toBe(0x60);
  rig.outMaster(8, 0xff);
  expect([rig.inMaster(8), rig.inMaster(10), rig.inMaster(0)]).toEqual([9, 1, 0]);
  rig.outMaster(8, 0);
  expect(rig.inMaster(10)).toBe(0);
  expect([rig.inMaster(1), rig.inMaster(3)]).toEqual([0, 0]);
});

// Two drives, and what the io thread did for them.
const fields = {
  table: "u32",
  bmCommand: "u8",
  bmStatus: "u8",
  selected: "u8",
  control: "u8",
  level: "u8",
  waited: "u8",
  drive: { bytes: DriveState.size },
  padding: { bytes: 8 },
  cd: { bytes: DriveState.size },
} as const;
const Whole = layout("ide-test", 1, fields);

function drives(regs: ReturnType<typeof Whole.view>) {
  // Blocks begin at multiples of 8.
  const at = (bytes: Uint8Array) => DriveState.view(bytes.buffer, Math.ceil(bytes.byteOffset / 8) * 8);
  return (unit: number, wires: DriveWires) => {
    const names = { serial: "s", model: "VMEXIT D", sectors: 4096 };
    return unit === 0
      ? new AtaDisk({ ...names, readOnly: false, blockSize: 512, writeCache: true }, at(regs.drive), wires)
      : new AtapiCd(names, at(regs.cd), wires);
  };
}

devicePromises({
  name: "ide channel",
  layout: Whole,
  length: 0x09,
  build: (regs, world) => {
    const state: ReturnType<typeof ChannelState.view> = regs;
    const settle = () => ({ settle() {} });
    const channel = new Channel(state, { line: world.irq, work: world.signal, settle }, drives(regs));
    return new PiixIde([channel]);
  },
  disturb: ({ channels: [channel] }, random) => {
    const drive = channel.drives[Math.floor(random() * 2)];
    if (drive !== undefined && drive.regs.request !== 0) drive.complete(random() < 0.9 ? DONE : -1);
  },
});

devicePromises({
  name: "ide bus master",
  layout: Whole,
  length: 8,
  build: (regs, world) => {
    const settle = () => ({ settle() {} });
    const channel = new Channel(regs, { line: world.irq, work: world.signal, settle }, drives(regs));
    const master = new ByteWide(new BusMaster([channel]));
    return {
      read: (offset, size) => master.read(offset, size),
      write: (offset, size, value) => master.write(offset, size, value),
      reset: () => channel.powerOn(),
    };
  },
});

test("an interrupt that the io thread raises reaches the line", () => {
  const rig = new IdeRig(["disk"]);
  const driver = new IdeDriver(rig, 0);
  rig.serves = false;
  driver.command(0xe7);
  expect([driver.status, rig.lines[0]]).toEqual([BSY, false]);
  rig.work();
  expect([rig.lines[0], driver.status & ERR]).toEqual([true, 0]);
});
