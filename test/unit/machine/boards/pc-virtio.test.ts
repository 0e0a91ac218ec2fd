/** virtio devices on the PC's bus, without KVM: how a driver finds them, and what KVM has to have for their BARs. */
import { expect, test } from "vitest";
import { pc } from "../../../../src/machine/boards/pc.ts";
import { kernelMap } from "../../../../src/machine/kernel-map.ts";
import type { DeviceSpec } from "../../../../src/machine/spec.ts";
import * as spec from "../../../../src/virtio/spec.ts";
import * as pci from "../../../../src/virtio/transport/pci-registers.ts";
import { assemble as assembleBoard, SMALLEST } from "../../../support/assemble.ts";

const COMMAND = 0x04;
const BAR0 = 0x10;
const BAR1 = 0x14;
const BAR4 = 0x20;
const DECODE_ALL = 7;

const BALLOON = { deflateOnOom: false, freePageReporting: false };
const RNG = (config: object): DeviceSpec => ({ kind: "virtio-rng", name: "virtio-rng", config });

function assemble(devices: readonly DeviceSpec[]) {
  const driven: string[] = [];
  const made = assembleBoard(
    pc,
    { board: "pc", devices },
    {
      driveIrq: (gsi, level) => void driven.push(`${gsi} ${level ? "up" : "down"}`),
      moved: { settle: () => made.generation.bump() },
    },
  );
  made.machine.reset();
  const { ports, machine } = made;
  const select = (device: number, at: number) => {
    ports.write(0xcf8, 4, (0x8000_0000 | (device << 11) | (at & 0xfc)) >>> 0);
  };
  return {
    ...made,
    driven,
    read(device: number, at: number, size: 1 | 2 | 4 = 4) {
      select(device, at);
      return ports.read(0xcfc + (at & 3), size);
    },
    write(device: number, at: number, value: number, size: 1 | 2 | 4 = 4) {
      select(device, at);
      ports.write(0xcfc + (at & 3), size, value);
    },
    doorbells: () =>
      kernelMap(machine).doorbells.map(({ address, length, datamatch, port }) => {
        const value = datamatch === undefined ? "" : ` = ${datamatch}`;
        return `${port ? "port" : "memory"} ${address.toString(16)}+${length}${value}`;
      }),
  };
}

test("a transitional device has a legacy one's ids, others those of its type", () => {
  const { read } = assemble([
    RNG({}),
    { ...RNG({ disableLegacy: true }), name: "modern" },
    { kind: "virtio-balloon", name: "virtio-balloon", config: BALLOON },
    { ...RNG({ disableModern: true }), name: "legacy" },
  ]);
  const words = [0x00, 0x08, 0x2c];
  expect([2, 3, 4, 5].map((device) => words.map((at) => read(device, at).toString(16)))).toEqual([
    ["10051af4", "ff0000", "41af4"],
    ["10441af4", "ff0001", "11001af4"],
    ["10021af4", "ff0000", "51af4"],
    ["10051af4", "ff0000", "41af4"],
  ]);
  expect([2, 3, 4, 5].map((device) => read(device, 0x3d, 1))).toEqual([1, 1, 1, 1]);
});

test("the capabilities are linked, and the BARs have the sizes of QEMU's", () => {
  const { read, write } = assemble([
    RNG({}),
    { ...RNG({ disableModern: true }), name: "legacy" },
    { ...RNG({ disableLegacy: true }), name: "modern" },
  ]);
  const chain = (device: number) => {
    const found: string[] = [];
    for (let at = read(device, 0x34, 1); at !== 0; at = read(device, at + 1, 1)) {
      found.push(`${at.toString(16)} ${read(device, at, 1).toString(16)}`);
    }
    return found;
  };
  const vendors = ["84 9", "70 9", "60 9", "50 9", "40 9"];
  expect([2, 3, 4].map(chain)).toEqual([["98 11", ...vendors], ["98 11"], ["98 11", ...vendors]]);
  const sizes = (device: number) =>
    [BAR0, BAR1, BAR4].map((at) => {
      write(device, at, 0xffff_ffff);
      return read(device, at).toString(16);
    });
  expect([2, 3, 4].map(sizes)).toEqual([
    ["ffffffe1", "fffff000", "ffffc00c"],
    ["ffffffe1", "fffff000", "0"],
    ["0", "fffff000", "ffffc00c"],
  ]);
});

test("doorbells follow the BAR that the driver moves, and the interface that it uses", () => {
  const { read, write, doorbells, memory, ports } = assemble([RNG({})]);
  expect(doorbells()).toEqual([]);
  write(2, BAR0, 0xc000);
  write(2, BAR4, 0xfe00_0000);
  expect(doorbells()).toEqual([]); // not decoded yet
  write(2, COMMAND, DECODE_ALL, 2);
  expect(doorbells()).toEqual(["memory fe003000+0"]);
  write(2, BAR4, 0xfd00_0000);
  expect(doorbells()).toEqual(["memory fd003000+0"]);
  write(2, BAR4 + 4, 0x8); // above 4 GiB
  expect(doorbells()).toEqual(["memory 8fd003000+0"]);
  expect(memory.read(0x8_fd00_0000 + 18, 2)).toBe(1); // num_queues
  ports.write(0xc000 + pci.LEGACY_DEVICE_STATUS, 1, spec.ACKNOWLEDGE);
  expect(doorbells()).toEqual(["port c010+2 = 0"]);
  write(2, BAR0, 0xd000);
  expect(doorbells()).toEqual(["port d010+2 = 0"]);
  ports.write(0xd000 + pci.LEGACY_DEVICE_STATUS, 1, 0);
  expect(doorbells()).toEqual(["memory 8fd003000+0"]);
  write(2, COMMAND, 0, 2);
  expect([doorbells(), read(2, BAR4)]).toEqual([[], 0xfd00_000c]);
});

test("firmware can start from a disk, and learns which one comes first", () => {
  const disk = { size: 2 ** 20, blockSize: 512, readOnly: false, serial: "", queues: 1, writeCache: true };
  const drive = (name: string, place: { slot: number; fn?: number }, bootindex?: number): DeviceSpec => {
    return { kind: "virtio-blk", name, place, config: { ...disk, bootindex } };
  };
  const devices = [drive("a", { slot: 0x1c }), drive("b", { slot: 4, fn: 1 }, 0), RNG({})];
  const spec = { ...SMALLEST, board: "pc", devices };
  expect(pc.parts(spec).flatMap((plug) => plug.describe().boot ?? [])).toEqual([
    { path: "/pci@i0cf8/scsi@1c/disk@0,0" },
    { path: "/pci@i0cf8/scsi@4,1/disk@0,0", index: 0 },
  ]);
});

test("firmware brings a device up through its configuration space alone", () => {
  const { read, write } = assemble([RNG({})]);
  const WINDOW = 0x84;
  write(2, WINDOW + 4, 4, 1);
  write(2, WINDOW + 8, pci.DEVICE_STATUS);
  write(2, WINDOW + 12, 1);
  write(2, WINDOW + 16, spec.ACKNOWLEDGE | spec.DRIVER);
  expect(read(2, WINDOW + 16) & 0xff).toBe(spec.ACKNOWLEDGE | spec.DRIVER);
});

test("the interrupt is the PIRQ's, until ISR status is read; Interrupt Disable and MSI-X keep it low", () => {
  const { machine, write, memory, driven, read } = assemble([
    { kind: "virtio-balloon", name: "virtio-balloon", config: BALLOON },
  ]);
  const { made } = machine.part("virtio-balloon");
  write(2, BAR4, 0xfe00_0000);
  write(2, COMMAND, DECODE_ALL, 2);
  write(1, 0x61, 0x0b, 1); // PIIX3: PIRQB, which is device 2's INTA, to IRQ 11
  const status = (value: number) => memory.write(0xfe00_0000 + pci.DEVICE_STATUS, 1, value);
  const pulse = () => made.properties?.target.set?.(1);
  status(1);
  status(3);
  memory.write(0xfe00_0000 + pci.DRIVER_FEATURE_SELECT, 4, 1);
  memory.write(0xfe00_0000 + pci.DRIVER_FEATURE, 4, spec.F_VERSION_1_HIGH);
  status(11);
  status(15);
  pulse();
  expect(driven).toEqual(["11 up"]);
  expect(read(2, 0x06, 2) & 8).toBe(8);
  expect(memory.read(0xfe00_0000 + pci.ISR_WINDOW, 1)).toBe(pci.ISR_CONFIG);
  expect(driven).toEqual(["11 up", "11 down"]);
  expect(read(2, 0x06, 2) & 8).toBe(0);
  write(2, COMMAND, 0x400 | DECODE_ALL, 2);
  pulse();
  expect(driven.length).toBe(2);
  write(2, COMMAND, DECODE_ALL, 2);
  expect(driven).toEqual(["11 up", "11 down", "11 up"]);
  write(2, 0x98 + 2, 0x8000, 2);
  expect(driven.at(-1)).toBe("11 down");
});
