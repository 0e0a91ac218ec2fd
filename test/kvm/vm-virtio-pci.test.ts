/** A virtio device on the PC's bus, as a tiny driver finds it, moves it and uses it. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, restoreVm, type VmOptions } from "vmexit";
import { buildKernel } from "../support/multiboot-build.ts";
import { printed } from "../support/printed.ts";

let folder = "";
let kernel = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-virtio-pci-"));
  kernel = join(folder, "kernel.elf");
  buildKernel("virtio-pci-kernel.c", kernel);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SEABIOS = "/usr/share/seabios/bios-256k.bin";
const SECTOR = 512;
const LOADED = 0x7c00;
const BUFFER = 0x7e00;

const word = (value: number) => [value & 0xff, value >> 8];

/** A disk whose boot sector reads the next one by INT 13h, function 42h, prints it on COM1, and ends the machine. */
function bootDisk(text: string): Buffer {
  const code = (packet: number) => [
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, ...word(LOADED)], // xor ax, ax; ds = ss = 0; sp below the code
    ...[0xbe, ...word(packet), 0xb4, 0x42, 0xcd, 0x13], // mov si, packet; mov ah, 42h; int 13h
    ...[0xbe, ...word(BUFFER), 0xac, 0x84, 0xc0, 0x74, 0x06], // mov si, buffer; lodsb; until it is 0
    ...[0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5], // out 3f8h, al
    ...[0xba, 0xf4, 0x00, 0x30, 0xc0, 0xee, 0xf4], // out f4h, 0: ends the machine
  ];
  const packet = [16, 0, 1, 0, ...word(BUFFER), 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]; // one sector, from LBA 1
  const disk = Buffer.alloc(2048 * SECTOR);
  disk.set([...code(LOADED + code(0).length), ...packet]);
  disk.set([0x55, 0xaa], SECTOR - 2);
  disk.write(`${text}\0`, SECTOR);
  return disk;
}

/** Runs the kernel to its end. */
async function run(what: string, rng: VmOptions["rng"] = true) {
  await using vm = await createVm({ machine: "pc", memory: "16M", kernel, cmdline: what, rng });
  const output = printed(vm);
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  return { lines: (await output).toString().trimEnd().split("\n"), stats: vm.stats() };
}

test("a modern driver: a masked message waits in the device, and the doorbell follows the BAR", async () => {
  const { lines, stats } = await run("modern");
  expect(lines).toEqual([
    "slot 00000002",
    "id 10051af4",
    "status 0000000f",
    "used 00000001",
    "pending 00000000",
    "message",
    "gone ffffffff",
    "used 00000002",
  ]);
  // Each register that it reads and writes, and the pending bit until it is set: no notification is among them.
  const EXITS = 21;
  expect(stats.devices["virtio-rng"]).toBeGreaterThanOrEqual(EXITS);
});

test("a modern driver without MSI-X: the line is high until it reads ISR status", async () => {
  const { lines, stats } = await run("line", { disableLegacy: true, addr: "1f" });
  const request = (n: number) => [`used 0000000${n}`, "isr 00000001", "line 00000000"];
  expect(lines).toEqual(["slot 0000001f", "id 10441af4", "status 0000000f", ...request(1), ...request(2)]);
  const BRING_UP = 14;
  // Of each request, its queue's place is read, and ISR status. The notification is an event.
  expect(stats.devices["virtio-rng"]).toBe(BRING_UP + 2 * 2);
});

test("a legacy driver uses ports, and has a request served before it sets DRIVER_OK", async () => {
  for (const disableModern of [false, true]) {
    const { lines, stats } = await run("legacy", { disableModern });
    expect(lines).toEqual([
      "slot 00000002",
      "id 10051af4",
      "size 00000040",
      "used 00000001",
      "isr 00000001",
      "gone ffffffff",
      "used 00000002",
      "status 00000007",
    ]);
    // Neither of the two notifications is an exit.
    expect(stats.devices["virtio-rng"]).toBe(10);
  }
});

test("firmware brings the device up through configuration space, and has a request served", async () => {
  const { lines } = await run("window");
  expect(lines).toEqual(["slot 00000002", "id 10051af4", "used 00000001"]);
});

test.skipIf(!existsSync(SEABIOS)).each([
  ["both interfaces", {}],
  ["the legacy interface alone", { disableModern: true }],
  ["the modern interface alone", { disableLegacy: true }],
] as const)("SeaBIOS starts from a virtio disk with %s", async (_, interfaces) => {
  const file = join(folder, "boot.img");
  // The BIOS, which prints on COM1 too, has its last characters in a buffer, where the first one of ours is mixed in.
  writeFileSync(file, bootDisk("-read by the BIOS"));
  await using vm = await createVm({
    machine: "pc",
    memory: "32M",
    drives: [{ file, format: "raw", addr: "4", ...interfaces }],
  });
  const output = printed(vm);
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  expect((await output).toString()).toMatch(/read by the BIOS$/);
  expect(vm.stats().drives[0].bytesRead).toBe(2 * SECTOR);
});

test("SeaBIOS starts from the SCSI disk that has the lowest bootindex", async () => {
  const other = join(folder, "other.img");
  const file = join(folder, "scsi.img");
  writeFileSync(other, bootDisk("-the wrong disk"));
  writeFileSync(file, bootDisk("-read by the BIOS"));
  const scsi = { format: "raw", interface: "scsi" } as const;
  await using vm = await createVm({
    machine: "pc",
    memory: "32M",
    drives: [
      { ...scsi, file: other, bootindex: 2 },
      { ...scsi, file, target: 5, lun: 1, bootindex: 1 },
    ],
  });
  const output = printed(vm);
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  expect((await output).toString()).toMatch(/read by the BIOS$/);
});

test("a saved device continues in another machine: its BARs, its doorbell, and the message that is pending", async () => {
  const dir = join(folder, "saved");
  const options = { machine: "pc", memory: "16M", kernel, cmdline: "between", rng: { addr: "7" } } as const;
  await using first = await createVm(options);
  const waiting = first.serial.waitFor("waiting\n");
  await first.start();
  await waiting;
  await first.snapshot({ dir });
  await first.stop();
  await using second = await restoreVm(dir);
  const output = printed(second);
  await second.resume();
  second.serial.write("x");
  expect(await second.exited).toEqual({ reason: "exit", status: 1 });
  expect((await output).toString()).toBe("message\nused 00000002\n");
});
