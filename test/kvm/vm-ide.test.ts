/** Sectors that a guest without a driver reads from a PC's IDE drives: by PIO and by DMA. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createVm, restoreVm, type VmOptions } from "vmexit";
import { exitWith, outByte, outDword } from "../support/flat-machine.ts";
import { printed } from "../support/printed.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-ide-"));
afterAll(() => rmSync(folder, { recursive: true }));

const BUFFER = 0x3000;
const LBA = 3;

/** A disk whose bytes tell where they are from. */
function disk(n: number): string {
  const file = join(folder, `${n}.img`);
  writeFileSync(
    file,
    Uint8Array.from({ length: 64 * 512 }, (_, i) => (i * 7 + (i >> 9) * 13 + n * 101) & 0xff),
  );
  return file;
}

const expected = (n: number, length: number) =>
  Uint8Array.from({ length }, (_, k) => {
    const i = LBA * 512 + k;
    return (i * 7 + (i >> 9) * 13 + n * 101) & 0xff;
  });

const port = (number: number) => [0xba, number & 0xff, number >> 8]; // mov dx, number
/** in al, dx; test al, 0x80; jnz: waits until BSY is clear. */
const wait = (status: number) => [...port(status), 0xec, 0xa8, 0x80, 0x75, 0xfb];

/** READ of `sectors` sectors: the task file. */
const give = (base: number, drive: number, command: number, sectors: number) => [
  ...outByte(base + 6, 0xe0 | (drive << 4)),
  ...outByte(base + 2, sectors),
  ...outByte(base + 3, LBA),
  ...outByte(base + 4, 0),
  ...outByte(base + 5, 0),
  ...outByte(base + 7, command),
];

/** xor ax, ax; mov es, ax; mov di, address; cld */
const TO_BUFFER = [0x31, 0xc0, 0x8e, 0xc0, 0xbf, BUFFER & 0xff, BUFFER >> 8, 0xfc];
/** mov cx, 256; rep insw */
const insw = (base: number) => [...port(base), 0xb9, 0x00, 0x01, 0xf3, 0x6d];

const readByPio = (base: number, drive: number, sectors: number) => [
  ...outByte(base + 0x206, 2), // no interrupts
  ...give(base, drive, 0x20, sectors),
  ...TO_BUFFER,
  ...Array.from({ length: sectors }, () => [...wait(base + 7), ...insw(base)]).flat(),
];

/** xor ax, ax; mov ds, ax; mov si, BUFFER; mov cx, length; mov dx, 0x3f8; rep outsb */
const printBuffer = (length: number) => [
  ...[0x31, 0xc0, 0x8e, 0xd8, 0xbe, BUFFER & 0xff, BUFFER >> 8],
  ...[0xb9, length & 0xff, length >> 8, ...port(0x3f8), 0xf3, 0x6e],
];

const CODE = 0x1000;
/** Where the descriptors of the bus master are, behind the code. */
const TABLE = 0x1800;

/** What the guest prints of its buffer. @param table descriptors for the bus master */
async function bufferAfter(
  code: readonly number[],
  length: number,
  drives: NonNullable<VmOptions["drives"]>,
  table: number[],
) {
  const kernel = new Uint8Array(TABLE - CODE + table.length);
  kernel.set([...code, ...printBuffer(length), ...exitWith(0)]);
  kernel.set(table, TABLE - CODE);
  await using vm = await createVm({
    ...{ machine: "pc", memory: "2M", loadAddress: CODE, onReset: "exit", drives, kernel },
  });
  const output = printed(vm);
  await vm.start();
  expect(await vm.exited).toMatchObject({ reason: "exit" });
  const bytes = await output;
  expect(vm.stats().drives.reduce((sum, { bytesRead }) => sum + bytesRead, 0)).toBe(length);
  return Uint8Array.from(bytes);
}

const ide = (n: number) => ({ interface: "ide", file: disk(n), format: "raw", index: n }) as const;
const FOUR = () => [0, 1, 2, 3].map(ide);

test.each([0, 1, 2, 3])("drive %i by PIO: rep insw, a sector at a time", async (n) => {
  const code = readByPio(n < 2 ? 0x1f0 : 0x170, n & 1, 3);
  expect(await bufferAfter(code, 1536, FOUR(), [])).toEqual(expected(n, 1536));
});

const CONFIG = 0x8000_0900; // bus 0, device 1, function 1
const BUS_MASTER = 0xc000;

const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

test.each([0, 1, 2, 3])("drive %i by DMA, to two places of the guest's memory", async (n) => {
  const base = n < 2 ? 0x1f0 : 0x170;
  const master = BUS_MASTER + (n < 2 ? 0 : 8);
  const code = [
    ...[...outDword(0xcf8, CONFIG + 0x20), ...outDword(0xcfc, BUS_MASTER)],
    ...[...outDword(0xcf8, CONFIG + 0x04), ...outDword(0xcfc, 5)], // I/O, bus master
    ...[...outDword(master + 4, TABLE), ...outByte(master, 8), ...outByte(master + 2, 0x66)],
    ...give(base, n & 1, 0xc8, 4),
    ...outByte(master, 9),
    ...[...port(master + 2), 0xec, 0xa8, 0x04, 0x74, 0xfb], // waits for the interrupt bit
  ];
  const table = [BUFFER, 700, BUFFER + 700, 0x8000_0000 + 2048 - 700].flatMap(dword);
  expect(await bufferAfter(code, 2048, FOUR(), table)).toEqual(expected(n, 2048));
});

test("a snapshot in the middle of a sector: the restored guest reads the rest", async () => {
  const words = (count: number) => [...port(0x1f0), 0xb9, count & 0xff, count >> 8, 0xf3, 0x6d]; // rep insw
  const code = [
    ...[...outByte(0x3f6, 2), ...give(0x1f0, 0, 0x20, 2), ...wait(0x1f7)],
    ...[...TO_BUFFER, ...words(100), ...outByte(0x3f8, 0x41)],
    ...[...port(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xfb], // waits for a byte on COM1
    ...[...words(156), ...wait(0x1f7), ...words(256)],
    ...[...printBuffer(1024), ...exitWith(0)],
  ];
  const drives = [ide(0), { interface: "ide", media: "cdrom" } as const];
  const dir = join(folder, "snapshot");
  {
    await using vm = await createVm({
      ...{ machine: "pc", memory: "2M", loadAddress: CODE, onReset: "exit", drives },
      kernel: Uint8Array.from(code),
    });
    await vm.start();
    await vm.serial.waitFor("A", { timeoutMs: 20_000 });
    await vm.snapshot({ dir });
  }
  await using vm = await restoreVm(dir, { drives });
  const output = printed(vm);
  await vm.resume();
  vm.serial.write("x");
  expect(await vm.exited).toMatchObject({ reason: "exit" });
  expect(Uint8Array.from(await output)).toEqual(expected(0, 1024));
});
