import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { OptionError } from "../../../../src/base/errors.ts";
import { MAX_CPUS } from "../../../../src/config/machine.ts";
import { microvm } from "../../../../src/machine/boards/microvm.ts";
import { kernelMap } from "../../../../src/machine/kernel-map.ts";
import type { Ports } from "../../../../src/machine/ports.ts";
import type { DeviceSpec, MachineSpec } from "../../../../src/machine/spec.ts";
import { checkOptions } from "../../../../src/vm/validate.ts";
import { assemble as assembleBoard } from "../../../support/assemble.ts";
import { isHeld } from "../../../support/locks.ts";

const disk = (n: number, queues = 1): DeviceSpec => ({
  kind: "virtio-blk",
  name: `virtio-blk${n}`,
  config: {
    ...{ size: 2 ** 20, blockSize: 4096, readOnly: false, serial: "vmexit-0", queues, writeCache: true },
    ...{ rerror: "report", werror: "report", throttling: undefined },
  },
});
const RNG: DeviceSpec = { kind: "virtio-rng", name: "virtio-rng", config: {} };

const MAGIC = 0x7472_6976; // "virt"

const assemble = (more: Partial<MachineSpec>, ports: Partial<Ports> = {}, buffer?: SharedArrayBuffer) =>
  assembleBoard(microvm, more, ports, buffer);

/** The virtio devices of a machine, in the order of their windows: each with its queues and one event more. */
const virtioOf = ({ machine }: ReturnType<typeof assemble>) =>
  [...machine.parts.values()]
    .filter(({ firstBell, endBell }) => endBell > firstBell)
    .map(({ name, firstBell, endBell }) => ({ name, queues: endBell - firstBell - 1 }));

test("the address map is the one in the documentation", () => {
  const { map } = assemble({
    serialPorts: 4,
    devices: [disk(0), disk(1), RNG],
    own: [
      { name: "thermometer", space: "ports", address: 0x510, length: 2 },
      { name: "leds", space: "memory", address: 0xd000_0000, length: 4096 },
    ],
  });
  expect(map.trimEnd().split("\n")).toEqual([
    "0x60         i8042",
    "0x64         i8042",
    "0x70-0x71    cmos",
    "0x80         post-code",
    "0xe9         debug-console",
    "0xf4-0xf7    debug-exit",
    "0x2e8-0x2ef  com4",
    "0x2f8-0x2ff  com2",
    "0x3e8-0x3ef  com3",
    "0x3f8-0x3ff  com1",
    "0x402        debug-console",
    "0x510-0x511  thermometer",
    "0x600-0x60f  acpi-pm",
    "0xd0000000-0xd0000fff  leds",
    "0xfeb00000-0xfeb00fff  virtio-blk0",
    "0xfeb01000-0xfeb01fff  virtio-blk1",
    "0xfeb02000-0xfeb02fff  virtio-rng",
  ]);
});

test("two threads that assemble the same spec have the same machine", () => {
  const spec = { serialPorts: 2, devices: [disk(0, 3), RNG] };
  const a = assemble(spec);
  const b = assemble(spec, {}, a.buffer);
  expect(b.map).toBe(a.map);
  expect(b.arena.blocks).toEqual(a.arena.blocks);
  a.machine.reset();
  a.ports.write(0x3ff, 1, 0x5a); // COM1's scratch register
  a.ports.write(0x70, 1, 0x0f);
  a.ports.write(0x71, 1, 0x77);
  expect(b.ports.read(0x3ff, 1)).toBe(0x5a);
  expect(b.ports.read(0x71, 1)).toBe(0x77);
  a.memory.write(0xfeb0_0070, 4, 3); // ACKNOWLEDGE and DRIVER
  expect(b.memory.read(0xfeb0_0070, 4)).toBe(3);
  a.machine.part("virtio-blk0").made.lock.acquire();
  expect(isHeld(b.machine.part("virtio-blk0").made.lock)).toBe(true);
  expect(isHeld(b.machine.part("virtio-rng").made.lock)).toBe(false);
  expect(b.arena.locks.filter(isHeld).length).toBe(1);
});

test("every block of state has an owner and a place of its own, all of it in the arena", () => {
  const { arena, buffer } = assemble({ serialPorts: 4, devices: [disk(0, 4), RNG] });
  let end = 0;
  for (const block of arena.blocks) {
    expect(block.owner).not.toBe("");
    expect(block.offset).toBeGreaterThanOrEqual(end);
    end = block.offset + block.length;
  }
  expect(end).toBeLessThanOrEqual(buffer.byteLength);
});

test("the largest machine that options allow fits its state", () => {
  const drives = Array.from({ length: 12 }, (_, n) => ({ file: `${n}.img`, queues: 64 }));
  const devices = Array.from({ length: 240 }, (_, n) => [
    { name: `port${n}`, port: 0x1000 + n, length: 1, handlers: {} },
    { name: `memory${n}`, address: 0xd000_0000 + n * 4096, length: 4096, handlers: {} },
  ]).flat();
  const options = checkOptions({ kernel: "k", cpus: MAX_CPUS, serialPorts: 4, drives, devices });
  const spec = {
    cpus: options.cpus,
    serialPorts: options.serialPorts,
    devices: options.drives.map(({ queues }, n) => disk(n, queues)),
    own: options.ownDevices,
  };
  const largest = assemble(spec);
  expect(virtioOf(largest).reduce((sum, { queues }) => sum + queues, 0)).toBe(12 * 64);
  expect(largest.machine.bells).toBe(12 * 65);
  expect(largest.arena.locks.length).toBe(4 + 6 + 12 + 480);
  // And one device fewer with an entropy device in its place.
  const other = assemble({ ...spec, devices: [...spec.devices.slice(1), RNG] });
  expect(virtioOf(other).at(-1)?.name).toBe("virtio-rng");
});

test("a device that the board does not know is refused by name", () => {
  const devices = [{ kind: "flux-capacitor", name: "f", config: {} }];
  expect(() => assemble({ devices })).toThrow('a microvm has no place for a device "flux-capacitor"');
});

test("state blocks are where they were when machines were first saved", () => {
  const { arena } = assemble({
    serialPorts: 4,
    devices: [disk(0), disk(1, 3), RNG],
    own: [
      { name: "thermometer", space: "ports", address: 0x510, length: 2 },
      { name: "leds", space: "memory", address: 0xd000_0000, length: 4096 },
    ],
  });
  const text = arena.blocks.map(
    ({ offset, length, owner, layout, version }) => `${offset} ${length} ${owner} ${layout} ${version}\n`,
  );
  const golden = new URL("../../../golden/microvm-state.txt", import.meta.url);
  expect(text.join("")).toBe(readFileSync(golden, "utf8"));
});

test("KVM is asked for RAM, for the pages of registers, and for every doorbell", () => {
  const page = new Uint32Array(1024);
  const { machine } = assemble({ devices: [disk(0, 2), RNG] }, { shadow: () => page });
  const { slots, doorbells, messages } = kernelMap(machine);
  expect(slots).toEqual([
    { memory: "ram", offset: 0, address: 0, size: 2 ** 24, readOnly: false },
    { memory: "virtio-registers", offset: 0, address: 0xfeb0_0000, size: 0x2000, readOnly: true },
  ]);
  expect(doorbells).toEqual([
    { bell: 0, address: 0xfeb0_0050, length: 4, datamatch: 0 },
    { bell: 1, address: 0xfeb0_0050, length: 4, datamatch: 1 },
    { bell: 2, address: 0xfeb0_0064, length: 4, datamatch: 1 },
    { bell: 3, address: 0xfeb0_1050, length: 4, datamatch: 0 },
    { bell: 4, address: 0xfeb0_1064, length: 4, datamatch: 1 },
  ]);
  expect(messages).toEqual([]);
  // Where KVM has no read-only memory, a driver's acknowledgement exits.
  const withoutPages = kernelMap(assemble({ devices: [RNG] }).machine);
  expect(withoutPages.doorbells).toEqual([{ bell: 0, address: 0xfeb0_0050, length: 4, datamatch: 0 }]);
});

test("more devices than the bus has room for are refused, not forgotten", () => {
  const own = Array.from({ length: 256 }, (_, n) => ({
    name: `d${n}`,
    space: "memory" as const,
    address: 0xd000_0000 + n * 16,
    length: 16,
  }));
  expect(() => assemble({ own })).toThrow(OptionError);
});

test.each([
  ["ports" as const, 0x3f0, 16, "mine at 0x3f0-0x3ff overlaps com1 at 0x3f8-0x3ff"],
  ["ports" as const, 0x64, 1, "mine at 0x64 overlaps i8042 at 0x64"],
  ["ports" as const, 0, 0x10000, "mine at 0x0-0xffff overlaps i8042 at 0x60"],
  ["memory" as const, 0xfeb0_0fff, 1, "mine at 0xfeb00fff overlaps virtio-blk0 at 0xfeb00000-0xfeb00fff"],
])(
  "a program's device in the way of the machine's is refused, with both names: %s at %d",
  (space, address, length, sentence) => {
    const own = [{ name: "mine", space, address, length }];
    expect(() => assemble({ devices: [disk(0)], own })).toThrow(new OptionError(sentence));
  },
);

test("two devices of the program's own in each other's way are refused, with both names", () => {
  const own = [
    { name: "left", space: "ports" as const, address: 0x510, length: 4 },
    { name: "right", space: "ports" as const, address: 0x513, length: 1 },
  ];
  expect(() => assemble({ own })).toThrow(new OptionError("right at 0x513 overlaps left at 0x510-0x513"));
});

test("a program's device sees its own offsets and the guest's sizes", () => {
  const seen: unknown[] = [];
  const { ports, memory } = assemble(
    {
      own: [
        { name: "a", space: "ports", address: 0x510, length: 4 },
        { name: "b", space: "memory", address: 0xd000_0000, length: 16 },
      ],
    },
    {
      own: (index) => ({
        read: (offset, size) => {
          seen.push([index, offset, size]);
          return 7;
        },
        write: (offset, size, value) => void seen.push([index, offset, size, value]),
        reset() {},
      }),
    },
  );
  expect(ports.read(0x512, 2)).toBe(7);
  memory.write(0xd000_0008, 4, 0xffff_ffff);
  expect(seen).toEqual([
    [0, 2, 2],
    [1, 8, 4, 0xffff_ffff],
  ]);
});

test("each serial port and the debug console have a sink of their own", () => {
  const said: Record<string, string> = {};
  const { ports, machine } = assemble(
    { serialPorts: 4 },
    {
      sink: (part) => ({
        put: (byte) => {
          said[part] = (said[part] ?? "") + String.fromCharCode(byte);
        },
      }),
    },
  );
  machine.reset();
  for (const [port, letter] of [
    [0x3f8, "a"],
    [0x2f8, "b"],
    [0x3e8, "c"],
    [0x2e8, "d"],
    [0xe9, "e"],
    [0x402, "f"],
  ] as const) {
    ports.write(port, 1, letter.charCodeAt(0));
  }
  expect(said).toEqual({ com1: "a", com2: "b", com3: "c", com4: "d", "debug-console": "ef" });
});

test("each serial port has its own interrupt line", () => {
  const raised: number[] = [];
  const { ports, machine } = assemble(
    { serialPorts: 4 },
    { driveIrq: (gsi, asserted) => asserted && raised.push(gsi) },
  );
  machine.reset();
  for (const base of [0x3f8, 0x2f8, 0x3e8, 0x2e8]) {
    ports.write(base + 4, 1, 0x08); // OUT2
    ports.write(base + 1, 1, 0x02); // THRE
  }
  expect(raised).toEqual([4, 3, 5, 7]);
});

test("ports that the machine was not given are empty", () => {
  const smallest = assemble({ serialPorts: 1 });
  expect(smallest.ports.read(0x2ff, 1)).toBe(0xff);
  expect(smallest.memory.read(0xfeb0_0000, 4)).toBe(0xffff_ffff);
  expect(virtioOf(smallest)).toEqual([]);
});

test("devices get their windows in the order of the spec", () => {
  const assembled = assemble({ devices: [disk(0), disk(1, 2), RNG] });
  const { memory, machine } = assembled;
  machine.reset();
  const virtio = virtioOf(assembled);
  expect(virtio.map(({ name }) => name)).toEqual(["virtio-blk0", "virtio-blk1", "virtio-rng"]);
  expect(virtio.map(({ queues }) => queues)).toEqual([1, 2, 1]);
  for (const [slot, id] of [2, 2, 4].entries()) {
    expect(memory.read(0xfeb0_0000 + slot * 0x1000, 4)).toBe(MAGIC);
    expect(memory.read(0xfeb0_0008 + slot * 0x1000, 4)).toBe(id);
  }
});

test("the guest can switch off, reset and end the machine by the ports that its drivers know", () => {
  const did: string[] = [];
  const { ports, machine } = assemble(
    {},
    {
      power: {
        off: () => did.push("off"),
        reset: () => did.push("reset"),
        exit: (status) => did.push(`exit ${status}`),
      },
    },
  );
  machine.reset();
  ports.write(0x64, 1, 0xfe); // i8042: pulse the reset line
  ports.write(0xf4, 4, 3);
  expect(did).toEqual(["reset", "exit 7"]);
});

test("a reset leaves nothing of what a guest did", () => {
  const spec = { serialPorts: 2, devices: [disk(0), RNG] };
  const clock = { now: () => 0, monotonic: () => 0 };
  const [fresh, used] = [assemble(spec, { clock }), assemble(spec, { clock })];
  const state = ({ arena, buffer }: typeof used) =>
    arena.blocks.map((block) => [
      block.owner,
      block.layout,
      ...new Uint8Array(buffer, block.offset, block.length),
    ]);
  for (const each of [fresh, used]) each.machine.reset();
  for (let port = 0; port < 0x1000; port++) used.ports.write(port, 1, 0x03);
  for (let offset = 0; offset < 0x200; offset += 4) used.memory.write(0xfeb0_0000 + offset, 4, 1);
  expect(state(used)).not.toEqual(state(fresh));
  // Twice in all for both: a virtio device counts its resets, so that its threads agree on one.
  for (const each of [fresh, used]) each.machine.reset();
  expect(state(used)).toEqual(state(fresh));
});
