/** The PC board without KVM: its address map, its configuration space, and what KVM has to have for its registers. */
import { expect, test } from "vitest";
import { pc } from "../../../../src/machine/boards/pc.ts";
import { kernelMap } from "../../../../src/machine/kernel-map.ts";
import { ramRegions } from "../../../../src/machine/memory-map.ts";
import type { MachineSpec } from "../../../../src/machine/spec.ts";
import { assemble as assembleBoard } from "../../../support/assemble.ts";

const KIB = 1024;
const FIRMWARE = { size: 256 * KIB, bootOrder: "cad", bootMenu: false };
const PORT = { address: 0xcf8, data: 0xcfc };

function assemble(more: Partial<MachineSpec> = {}) {
  const driven: string[] = [];
  const made = assembleBoard(
    pc,
    { board: "pc", firmware: FIRMWARE, ...more },
    {
      driveIrq: (gsi, level) => driven.push(`${gsi} ${level ? "up" : "down"}`),
      moved: { settle: () => made.generation.bump() },
    },
  );
  made.machine.reset();
  const { ports } = made;
  const select = (device: number, fn: number, at: number) =>
    ports.write(PORT.address, 4, (0x8000_0000 | (device << 11) | (fn << 8) | (at & 0xfc)) >>> 0);
  return {
    ...made,
    driven,
    read(device: number, fn: number, at: number, size: 1 | 2 | 4) {
      select(device, fn, at);
      return ports.read(PORT.data + (at & 3), size);
    },
    write(device: number, fn: number, at: number, size: 1 | 2 | 4, value: number) {
      select(device, fn, at);
      ports.write(PORT.data + (at & 3), size, value);
    },
    slots: () =>
      kernelMap(made.machine).slots.map(({ memory, address, size, readOnly }) => {
        return `${memory} ${address.toString(16)}+${size.toString(16)}${readOnly ? " ro" : ""}`;
      }),
  };
}

test("the functions of QEMU 11.1's pc machine, without disks, network and screen", () => {
  const { read } = assemble();
  const found: string[] = [];
  for (let device = 0; device < 32; device++) {
    for (let fn = 0; fn < 8; fn++) {
      const id = read(device, fn, 0, 4);
      if (id !== 0xffff_ffff)
        found.push(`${device}.${fn} ${(id >>> 16).toString(16)} ${read(device, fn, 8, 4).toString(16)}`);
    }
  }
  expect(found).toEqual(["0.0 1237 6000002", "1.0 7000 6010000", "1.1 7010 1018000", "1.3 7113 6800003"]);
  expect(read(1, 0, 0x0e, 1)).toBe(0x80);
});

test("configuration mechanism 1 takes accesses of 1, 2 and 4 bytes, and no other bus", () => {
  const { read, ports } = assemble();
  expect([read(0, 0, 1, 1), read(0, 0, 2, 2), read(0, 0, 0, 4)]).toEqual([0x80, 0x1237, 0x1237_8086]);
  ports.write(PORT.address, 4, 0x8001_0000);
  expect(ports.read(PORT.data, 4)).toBe(0xffff_ffff);
  ports.write(PORT.address, 4, 0x0000_0000);
  expect(ports.read(PORT.data, 2)).toBe(0xffff);
  ports.write(PORT.address, 1, 0xff);
  expect(ports.read(PORT.address, 4)).toBe(0);
});

test("PAM registers put ROM or RAM from 0xc0000 on, writable or not", () => {
  const { slots, write } = assemble();
  const low = ["ram 0+a0000", "ram 100000+f00000", "firmware fffc0000+40000 ro"];
  const rom = (from: number) => {
    return Array.from(
      { length: (0xf_0000 - from) / 0x4000 },
      (_, n) => `firmware ${(from + n * 0x4000).toString(16)}+4000 ro`,
    );
  };
  const bios = "firmware f0000+10000 ro";
  expect(slots()).toEqual([...low, ...rom(0xe_0000), bios]);
  for (let at = 0x5a; at < 0x60; at++) write(0, 0, at, 1, 0x33);
  expect(slots()).toEqual([...low, "ram c0000+30000", bios]);
  write(0, 0, 0x59, 1, 0x30);
  expect(slots()).toEqual([...low, "ram c0000+30000", "ram f0000+10000"]);
  write(0, 0, 0x59, 1, 0x10);
  write(0, 0, 0x5a, 1, 0x13);
  expect(slots()).toEqual([
    ...low,
    "ram c0000+4000",
    "ram c4000+4000 ro",
    "ram c8000+28000",
    "ram f0000+10000 ro",
  ]);
});

test("the power management ports are where firmware puts them", () => {
  const { write, ports } = assemble();
  write(1, 3, 0x40, 4, 0x601);
  expect(ports.find(0x608)).toBeUndefined();
  write(1, 3, 0x80, 1, 1);
  expect(ports.find(0x608)?.name).toBe("piix4-pm");
  write(1, 3, 0x40, 4, 0xb001);
  expect([ports.find(0x608), ports.find(0xb008)?.name]).toEqual([undefined, "piix4-pm"]);
});

test("the power button raises the system control interrupt", () => {
  const { write, ports, machine, driven } = assemble();
  write(1, 3, 0x40, 4, 0x601);
  write(1, 3, 0x80, 1, 1);
  ports.write(0x602, 2, 0x0100);
  machine.part("piix4-pm").made.pressPowerButton?.();
  ports.write(0x600, 2, 0x0100);
  expect(driven).toEqual(["9 up", "9 down"]);
});

test("CMOS says how much memory there is, how many CPUs, and what to boot from", () => {
  const { ports } = assemble({ ram: ramRegions(4 * 1024 * 2 ** 20), cpus: 3 });
  const cmos = (index: number) => {
    ports.write(0x70, 1, index);
    return ports.read(0x71, 1);
  };
  const bytes = (...indices: number[]) => indices.map((index) => cmos(index).toString(16));
  expect(bytes(0x15, 0x16, 0x30, 0x31)).toEqual(["80", "2", "ff", "ff"]);
  expect(bytes(0x34, 0x35)).toEqual(["0", "bf"]); // (3 GiB - 16 MiB) / 64 KiB
  expect(bytes(0x5b, 0x5c, 0x5d)).toEqual(["0", "40", "0"]); // 1 GiB above
  expect(bytes(0x5f, 0x3d, 0x38)).toEqual(["2", "12", "30"]);
  expect(ports.read(0x70, 1)).toBe(0xff);
});

test("the registers of a PC are kept in blocks of shared state, so that snapshots have them", () => {
  const { arena } = assemble();
  const blocks = arena.blocks.map(({ owner, layout }) => `${owner}: ${layout}`);
  expect(blocks.filter((block) => /pci|i440fx|piix/.test(block))).toEqual([
    "pci: pci-interrupt-router",
    "pci: pci-config-ports",
    "i440fx: pci-config",
    "piix3: pci-config",
    "piix4-pm: pci-config",
    "piix4-pm: irq-line",
    "piix4-pm: irq-line",
    "piix4-pm: acpi-pm",
    "piix4-pm: smbus-host",
    "piix3-ide: pci-config",
    "piix3-ide: ide-channel",
    "piix3-ide: irq-line",
    "piix3-ide: ide-channel",
    "piix3-ide: irq-line",
  ]);
});

test("for a kernel without firmware, BARs have addresses, lines have inputs, and RAM is at 0xc0000", () => {
  const config = {
    ...{ size: 2 ** 20, blockSize: 4096, readOnly: false, serial: "a", queues: 1, writeCache: true },
    ...{ rerror: "report", werror: "report", throttling: undefined },
  };
  const made = assemble({ devices: [{ kind: "virtio-blk", name: "virtio-blk0", config }] });
  pc.prepare?.(made.machine);
  const { read, ports, memory, slots } = made;
  expect(read(2, 0, 0x10, 4)).toBe(0xc001 + (read(2, 0, 0x10, 4) & 0xfc0));
  expect(read(2, 0, 0x20, 4) & ~0xf).toBe(0xe000_0000 | 0);
  expect(memory.find(0xe000_0000)?.name).toBe("virtio-blk0");
  expect(read(2, 0, 4, 2) & 7).toBe(7);
  expect(read(2, 0, 0x3c, 1)).toBe(10);
  expect([0, 1, 2, 3].map((n) => read(1, 0, 0x60 + n, 1))).toEqual([10, 10, 11, 11]);
  expect(ports.find(0x604)?.name).toBe("piix4-pm");
  expect(slots()).toContain("ram c0000+30000");
  expect(slots()).toContain("ram f0000+10000");
});
