/** A PC from its reset vector on: ROMs of a few instructions, then SeaBIOS with a boot sector. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createVm, type Ending, restoreVm, type VirtualMachine, type VmOptions } from "vmexit";
import { exitWith, outByte } from "../support/flat-machine.ts";

const KIB = 1024;
const ROM_BYTES = 128 * KIB;
/** Where the code is: segment 0xf000, at its beginning. */
const CODE = 64 * KIB;
const RESET_VECTOR = ROM_BYTES - 16;
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;

const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const setDx = (port: number) => [0xba, port & 0xff, port >> 8];
const outEax = (port: number, value: number) => [0x66, 0xb8, ...dword(value), ...setDx(port), 0x66, 0xef];
const inEax = (port: number) => [...setDx(port), 0x66, 0xed];
/** mov dx, 0x3f8; out dx, al */
const PRINT_AL = [...setDx(0x3f8), 0xee];
/** Prints the four bytes of EAX, low byte first. */
const PRINT_EAX = [...PRINT_AL, ...Array.from({ length: 3 }, () => [0x66, 0xc1, 0xe8, 0x08, 0xee]).flat()];

const configAddress = (device: number, fn: number, at: number) =>
  (0x8000_0000 | (device << 11) | (fn << 8) | (at & 0xfc)) >>> 0;
const writeConfigByte = (device: number, fn: number, at: number, value: number) => [
  ...outEax(CONFIG_ADDRESS, configAddress(device, fn, at)),
  ...[0xb0, value, ...setDx(CONFIG_DATA + (at & 3)), 0xee],
];

/** A ROM whose code runs at the reset vector. Its first byte, at 0xe0000, is 0x11. */
function rom(code: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(ROM_BYTES);
  bytes[0] = 0x11;
  bytes.set(code, CODE);
  bytes.set([0xea, 0x00, 0x00, 0x00, 0xf0], RESET_VECTOR); // jmp 0xf000:0
  return bytes;
}

async function run(options: VmOptions): Promise<{ bytes: number[]; debug: string; ending: Ending }> {
  const bytes: number[] = [];
  let debug = "";
  await using vm = await createVm({ machine: "pc", memory: "16M", ...options });
  vm.serial.on("data", (chunk: Buffer) => bytes.push(...chunk));
  vm.debugConsole.on("data", (chunk: Buffer) => {
    debug += chunk.toString("latin1");
  });
  const closed = Promise.all(
    [vm.serial, vm.debugConsole].map((each) => new Promise((end) => each.once("end", end))),
  );
  await vm.start();
  const ending = await vm.exited;
  await closed;
  return { bytes, debug, ending };
}

test("a ROM of one's own runs from the reset vector on, and finds the board's functions", async () => {
  const functions = [
    [0, 0],
    [1, 0],
    [1, 1],
    [1, 3],
    [2, 0],
  ];
  const code = functions.flatMap(([device, fn]) => [
    ...outEax(CONFIG_ADDRESS, configAddress(device, fn, 0)),
    ...inEax(CONFIG_DATA),
    ...PRINT_EAX,
  ]);
  const { bytes, ending } = await run({ firmware: rom([...code, ...exitWith(0)]) });
  const data = new DataView(Uint8Array.from(bytes).buffer);
  const ids = functions.map((_, n) => data.getUint32(4 * n, true).toString(16));
  expect(ids).toEqual(["12378086", "70008086", "70108086", "71138086", "ffffffff"]);
  expect(ending).toEqual({ reason: "exit", status: 1 });
});

test("the devices of OpenStack's line are in the slots where it puts them", async () => {
  const code = [3, 4, 5].flatMap((slot) => [
    ...outEax(CONFIG_ADDRESS, configAddress(slot, 0, 0)),
    ...inEax(CONFIG_DATA),
    ...PRINT_EAX,
  ]);
  const { bytes } = await run({
    firmware: rom([...code, ...exitWith(0)]),
    drives: [{ source: { size: 1 << 20, read: () => {} }, addr: "0x4", bootindex: 1 }],
    network: [{ user: {}, mac: "fa:16:3e:d1:2d:99", addr: "0x3" }],
    balloon: { addr: "0x5" },
  });
  const data = new DataView(Uint8Array.from(bytes).buffer);
  const ids = [0, 4, 8].map((at) => data.getUint32(at, true).toString(16));
  expect(ids).toEqual(["10001af4", "10011af4", "10021af4"]);
});

test("PAM registers decide whether 0xe0000 is ROM, RAM, or RAM that cannot be written", async () => {
  const PAM5 = 0x5e;
  const setEs = [0xb8, 0x00, 0xe0, 0x8e, 0xc0]; // mov ax, 0xe000; mov es, ax
  const print = [0x26, 0xa0, 0x00, 0x00, ...PRINT_AL]; // mov al, es:[0]
  const store = (value: number) => [0x26, 0xc6, 0x06, 0x00, 0x00, value]; // mov byte es:[0], value
  const pam = (value: number) => writeConfigByte(0, 0, PAM5, value);
  const code = [
    ...setEs,
    ...[...print, ...store(0x99), ...print], // ROM keeps its byte
    ...[...pam(0x33), ...store(0x22), ...print], // RAM
    ...[...pam(0x11), ...store(0x44), ...print], // RAM that is only read
    ...[...pam(0x00), ...print], // ROM again
    ...[...pam(0x33), ...print], // what RAM had
  ];
  const { bytes } = await run({ firmware: rom([...code, ...exitWith(0)]) });
  expect(bytes).toEqual([0x11, 0x11, 0x22, 0x22, 0x11, 0x22]);
});

test("port 0xcf9 resets the machine, and so do port 0x92 and the keyboard controller", async () => {
  for (const code of [outByte(0xcf9, 6), outByte(0x92, 3), outByte(0x64, 0xfe)]) {
    const { ending } = await run({ firmware: rom([...code, 0xf4]), onReset: "exit" });
    expect(ending).toEqual({ reason: "reset" });
  }
});

/** Prints `text` on COM1, then ends the machine with that status. */
function bootSector(text: string, status: number): Uint8Array {
  const bytes = new Uint8Array(1024 * KIB); // SeaBIOS wants a cylinder at least
  bytes.set([
    ...[...text].flatMap((letter) => [0xb0, letter.charCodeAt(0), ...PRINT_AL]),
    ...exitWith(status),
  ]);
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

test("SeaBIOS finds memory, CPUs and tables, and boots a virtio disk on the PCI bus", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-pc-"));
  try {
    const file = join(folder, "disk.img");
    writeFileSync(file, bootSector("HD", 0));
    const { bytes, debug, ending } = await run({ memory: "64M", cpus: 2, drives: [{ file, format: "raw" }] });
    const text = Buffer.from(bytes).toString("latin1");
    expect(text).toContain("SeaBIOS (version");
    expect(text).toMatch(/Booting from Hard Disk.*H.*D/s);
    expect(ending).toEqual({ reason: "exit", status: 1 });
    expect(debug).toContain("Running on QEMU (i440fx)");
    expect(debug).toContain("QEMU fw_cfg DMA interface supported");
    expect(debug).toContain("len 0x0000000004000000 [RAM]");
    expect(debug).toContain("Moving pm_base to 0x600");
    expect(debug).toMatch(/Found 2 cpu\(s\)/);
    expect(debug).toMatch(/ACPI: parse DSDT/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("with nothing to boot SeaBIOS says so on COM1", async () => {
  await using vm = await createVm({ machine: "pc", memory: "32M" });
  await vm.start();
  await vm.serial.waitFor("No bootable device.", { timeoutMs: 60_000 });
});

test("a kernel is started without firmware, and finds the bus set up", async () => {
  const code = [
    ...[...outEax(CONFIG_ADDRESS, configAddress(1, 0, 0x60)), ...inEax(CONFIG_DATA), ...PRINT_EAX], // PIRQ routes
    ...[...setDx(0x604), 0xb8, 0x00, 0x20, 0xef], // mov ax, SLP_EN; out dx, ax
    0xf4,
  ];
  const { bytes, ending } = await run({ kernel: Uint8Array.from(code), loadAddress: 0x1000 });
  expect(bytes).toEqual([10, 10, 11, 11]);
  expect(ending).toEqual({ reason: "poweroff" });
});

/** Prints as many bytes of fw_cfg item `key`. */
const printItem = (key: number, count: number) => [
  ...[...setDx(0x510), 0xb8, key & 0xff, key >> 8, 0xef], // mov ax, key; out dx, ax
  ...[0xb9, count, 0x00, ...setDx(0x511), 0xec, ...PRINT_AL, 0xe2, 0xf6], // mov cx, count; in al, dx; print; loop
];

test("a guest without firmware finds the owner's files by fw_cfg", async () => {
  const fwCfg = [
    { name: "opt/org.example/b", string: "second" },
    { name: "opt/org.example/a", file: Uint8Array.from(Buffer.from("first")) },
  ];
  const code = [...printItem(0, 4), ...printItem(0x19, 4 + 64), ...printItem(0x20, 5), ...printItem(0x21, 6)];
  const kernel = Uint8Array.from([...code, ...exitWith(0)]);
  const { bytes } = await run({ kernel, loadAddress: 0x1000, fwCfg });
  const text = Buffer.from(bytes).toString("latin1");
  expect(text.slice(0, 4)).toBe("QEMU");
  expect(bytes.slice(4, 16)).toEqual([0, 0, 0, 2, 0, 0, 0, 5, 0, 0x20, 0, 0]);
  expect(text).toContain("opt/org.example/a\0");
  expect(text.slice(-11)).toBe("firstsecond");
});

test("a PC that continues from a snapshot has its firmware, UUID and files after a reset", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-pc-snapshot-"));
  try {
    const code = [
      ...[...printItem(0x02, 16), ...printItem(0x20, 5)], // the UUID, and the first file by name
      ...[...setDx(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xfb, ...setDx(0x3f8), 0xec], // waits for a byte on COM1
      ...[...setDx(0xcf9), 0xb0, 0x06, 0xee, 0xf4], // a reset
    ];
    const uuid = "11111111-2222-3333-4444-555555555555";
    const expected = Buffer.from(`${uuid.replaceAll("-", "")}${Buffer.from("first").toString("hex")}`, "hex");
    const file = join(folder, "file");
    writeFileSync(file, "first");
    await using vm = await createVm({
      ...{ machine: "pc", memory: "16M", firmware: rom(code), uuid, fwCfg: [{ name: "a/first", file }] },
    });
    const printed = (machine: VirtualMachine) => {
      const bytes: Buffer[] = [];
      machine.serial.on("data", (chunk: Buffer) => bytes.push(chunk));
      return () => Buffer.concat(bytes);
    };
    const first = printed(vm);
    await vm.start();
    await expect.poll(first).toEqual(expected);
    await vm.snapshot({ dir: join(folder, "snapshot") });
    await vm.stop();
    rmSync(file);

    await using again = await restoreVm(join(folder, "snapshot"));
    const second = printed(again);
    await again.resume();
    again.serial.write("r");
    await expect.poll(second).toEqual(expected);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("SeaBIOS gets the owner's SMBIOS fields, and takes the name of the BIOS from them", async () => {
  await using vm = await createVm({
    machine: "pc",
    memory: "32M",
    smbios: [
      { type: 0, vendor: "Vendor of the test", version: "7" },
      { type: 1, product: "Product of the test" },
    ],
  });
  await vm.start();
  await vm.serial.waitFor("No bootable device.", { timeoutMs: 60_000 });
  await vm.pause();
  // SeaBIOS places the tables below 1 MiB or at the end of RAM.
  const memory = Buffer.from(vm.memory.read(0, 32 * 1024 * KIB));
  expect(memory.includes("Vendor of the test\0")).toBe(true);
  expect(memory.includes("Product of the test\0")).toBe(true);
  const anchor = memory.indexOf("_SM_", 0xf0000);
  const address = memory.readUInt32LE(anchor + 0x18);
  expect([memory[address], memory[address + 1]]).toEqual([0, 24]);
});

test("flash chips run firmware, take commands and keep what was programmed in their file", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-flash-"));
  try {
    const [code, variables] = [join(folder, "code.fd"), join(folder, "vars.fd")];
    const VARIABLES = 0x1_0000_0000 - ROM_BYTES - 8 * KIB;
    /** In protected mode, by ES with a limit of 4 GiB. */
    const address = (at: number) => [0x66, 0xbf, ...dword(VARIABLES + at)]; // mov edi
    const store = (at: number, ...values: number[]) => [
      ...address(at),
      ...values.flatMap((value) => [0x26, 0x67, 0xc6, 0x07, value]), // mov byte es:[edi], value
    ];
    const print = (at: number) => [...address(at), 0x26, 0x67, 0x8a, 0x07, ...PRINT_AL]; // mov al, es:[edi]
    // Accessed already: the CPU cannot note that in ROM.
    const gdt = [...new Array<number>(8).fill(0), 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0];
    const GDT = 0x4000;
    const flat = [
      ...[0xfa, 0x2e, 0x0f, 0x01, 0x16, 0x10, GDT >> 8], // cli; lgdt cs:[GDT + 16]
      ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xbb, 0x08, 0x00, 0x8e, 0xc3], // PE; mov bx, 8; mov es, bx
    ];
    const program = [
      ...flat,
      ...[...print(1), ...store(0, 0x70), ...print(1), ...store(0, 0xff), ...print(1)], // array, status, array
      ...[...store(4096, 0x20, 0xd0), ...print(4096), ...store(4096, 0x10, 0x5a, 0xff), ...print(4096)],
      ...exitWith(0),
    ];
    const image = rom(program);
    image.set([...gdt, 15, 0, ...dword(0xf_0000 + GDT)], CODE + GDT);
    writeFileSync(code, image);
    writeFileSync(variables, new Uint8Array(8 * KIB).fill(0x33));
    const flash = [{ file: code, readOnly: true }, { file: variables }];
    const { bytes, ending } = await run({ flash });
    expect(ending).toEqual({ reason: "exit", status: 1 });
    expect(bytes).toEqual([0x33, 0x00, 0x33, 0x80, 0x5a]);
    const kept = readFileSync(variables);
    expect([kept[0], kept[4095], kept[4096], kept[4097]]).toEqual([0x33, 0x33, 0x5a, 0xff]);
    expect([...readFileSync(code)]).toEqual([...image]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
