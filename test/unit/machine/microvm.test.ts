import { expect, test } from "vitest";
import { Arena } from "../../../src/base/arena.ts";
import { OptionError } from "../../../src/base/errors.ts";
import { MAX_WINDOWS } from "../../../src/bus/address-space.ts";
import { addressMap, addressMapText } from "../../../src/machine/address-map.ts";
import type { Host } from "../../../src/machine/host.ts";
import { ramRegions } from "../../../src/machine/memory-map.ts";
import { assembleMicrovm, stateBytes, virtioDevices } from "../../../src/machine/microvm.ts";
import type { MachineSpec } from "../../../src/machine/spec.ts";
import { unplugged } from "../../../src/machine/unplugged.ts";
import { checkOptions, MAX_CPUS } from "../../../src/vm/validate.ts";

const SMALLEST: MachineSpec = {
  cpus: 1,
  ram: ramRegions(2 ** 24),
  serialPorts: 1,
  drives: [],
  rng: false,
  devices: [],
  traceUnclaimed: false,
};

const DRIVE: MachineSpec["drives"][number] = {
  size: 2 ** 20,
  blockSize: 4096,
  readOnly: false,
  serial: "vmexit-0",
  queues: 1,
  writeCache: true,
};

const MAGIC = 0x7472_6976; // "virt"

function assemble(
  more: Partial<MachineSpec>,
  host: Partial<Host> = {},
  buffer = new SharedArrayBuffer(stateBytes({ ...SMALLEST, ...more })),
) {
  const arena = new Arena(buffer);
  const counts = { ports: new Float64Array(MAX_WINDOWS + 1), memory: new Float64Array(MAX_WINDOWS + 1) };
  const microvm = assembleMicrovm({ ...SMALLEST, ...more }, arena, { ...unplugged, ...host }, counts);
  const { ports, memory } = microvm.machine;
  return { ...microvm, arena, buffer, ports, memory, map: addressMapText(addressMap(ports, memory, [])) };
}

test("the address map is the one in the documentation", () => {
  const { map } = assemble({
    serialPorts: 4,
    drives: [DRIVE, DRIVE],
    rng: true,
    devices: [
      { name: "thermometer", space: "port", address: 0x510, length: 2 },
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
  const spec = { serialPorts: 2, drives: [{ ...DRIVE, queues: 3 }], rng: true };
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
  a.virtio[0].lock.acquire();
  expect(b.virtio[0].lock.held).toBe(true);
  expect(b.virtio[1].lock.held).toBe(false);
  expect(b.arena.locks.filter((lock) => lock.held).length).toBe(1);
});

test("every block of state has an owner and a place of its own, all of it in the arena", () => {
  const { arena, buffer } = assemble({ serialPorts: 4, drives: [{ ...DRIVE, queues: 4 }], rng: true });
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
    drives: options.drives.map(({ queues }) => ({ ...DRIVE, queues })),
    devices: options.ownDevices,
  };
  const { virtio, arena } = assemble(spec);
  expect(virtio.reduce((sum, slot) => sum + slot.configs.length, 0)).toBe(12 * 64);
  expect(arena.locks.length).toBe(4 + 6 + 12 + 480);
  // And one device fewer with an entropy device in its place.
  expect(assemble({ ...spec, drives: spec.drives.slice(1), rng: true }).virtio.at(-1)?.name).toBe(
    "virtio-rng",
  );
});

test("more devices than the bus has room for are refused, not forgotten", () => {
  const devices = Array.from({ length: 256 }, (_, n) => ({
    name: `d${n}`,
    space: "memory" as const,
    address: 0xd000_0000 + n * 16,
    length: 16,
  }));
  expect(() => assemble({ devices })).toThrow(OptionError);
});

test.each([
  ["port" as const, 0x3f0, 16, "mine at 0x3f0-0x3ff overlaps com1 at 0x3f8-0x3ff"],
  ["port" as const, 0x64, 1, "mine at 0x64 overlaps i8042 at 0x64"],
  ["port" as const, 0, 0x10000, "mine at 0x0-0xffff overlaps i8042 at 0x60"],
  ["memory" as const, 0xfeb0_0fff, 1, "mine at 0xfeb00fff overlaps virtio-blk0 at 0xfeb00000-0xfeb00fff"],
])(
  "a program's device in the way of the machine's is refused, with both names: %s at %d",
  (space, address, length, sentence) => {
    const devices = [{ name: "mine", space, address, length }];
    expect(() => assemble({ drives: [DRIVE], devices })).toThrow(new OptionError(sentence));
  },
);

test("two devices of the program's own in each other's way are refused, with both names", () => {
  const devices = [
    { name: "left", space: "port" as const, address: 0x510, length: 4 },
    { name: "right", space: "port" as const, address: 0x513, length: 1 },
  ];
  expect(() => assemble({ devices })).toThrow(new OptionError("right at 0x513 overlaps left at 0x510-0x513"));
});

test("a program's device sees its own offsets and the guest's sizes", () => {
  const seen: unknown[] = [];
  const { ports, memory } = assemble(
    {
      devices: [
        { name: "a", space: "port", address: 0x510, length: 4 },
        { name: "b", space: "memory", address: 0xd000_0000, length: 16 },
      ],
    },
    {
      ownDevice: (index) => ({
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

test("each serial port and the debug console talk on a console of their own", () => {
  const said: Record<number, string> = {};
  const { ports, machine } = assemble(
    { serialPorts: 4 },
    {
      console: (port) => ({
        put: (byte) => {
          said[port] = (said[port] ?? "") + String.fromCharCode(byte);
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
  expect(said).toEqual({ 0: "a", 1: "b", 2: "c", 3: "d", 4: "ef" });
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
  const { ports, memory, virtio } = assemble({ serialPorts: 1 });
  expect(ports.read(0x2ff, 1)).toBe(0xff);
  expect(memory.read(0xfeb0_0000, 4)).toBe(0xffff_ffff);
  expect(virtio).toEqual([]);
});

test("drives come first, then the entropy device, each in its slot", () => {
  const spec = { drives: [DRIVE, { ...DRIVE, queues: 2 }], rng: true };
  const { memory, virtio, machine } = assemble(spec);
  machine.reset();
  expect(virtioDevices({ ...SMALLEST, ...spec })).toBe(3);
  expect(virtio.map((slot) => slot.name)).toEqual(["virtio-blk0", "virtio-blk1", "virtio-rng"]);
  expect(virtio.map((slot) => slot.configs.length)).toEqual([1, 2, 1]);
  expect(virtio.map((slot) => slot.cursors.length)).toEqual([1, 2, 1]);
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
  const spec = { serialPorts: 2, drives: [DRIVE], rng: true };
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
