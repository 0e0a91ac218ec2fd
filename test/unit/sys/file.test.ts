/** Files, and data that moves between them and guest RAM. */

import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Pieces } from "../../../src/base/pieces.ts";
import { HostFile } from "../../../src/sys/file.ts";
import { GuestRam } from "../../../src/sys/guest-ram.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

const EBADF = -9;
const EFAULT = -14;
const SIZE = 3 * 2 ** 20;
let files = 0;

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i ^ (i >> 8) ^ (i >> 16)) & 0xff);
}

function fixture(bytes = pattern(SIZE)) {
  const path = join(folder, `file-${files++}`);
  writeFileSync(path, bytes);
  const file = HostFile.open(path);
  const ram = GuestRam.create(SIZE);
  const memory = new Uint8Array(ram.map(0, SIZE));
  const dispose = () => {
    file.close();
    ram.close();
  };
  return { path, bytes, file, ram, memory, [Symbol.dispose]: dispose };
}

test("a transfer fills the pieces of RAM in order", () => {
  using f = fixture();
  const pieces = Pieces.of(9e15, 9e15, 5000, 100, 100, 1, 0, 0, 70000, 4096, 9e15, 9e15);
  pieces.first = 1;
  pieces.count = 4;
  expect(f.file.readv(f.ram, pieces, 1234)).toBe(4197);
  expect(f.memory.subarray(5000, 5100)).toEqual(f.bytes.subarray(1234, 1334));
  expect(f.memory[100]).toBe(f.bytes[1334]);
  expect(f.memory.subarray(70000, 74096)).toEqual(f.bytes.subarray(1335, 5431));
  expect(f.memory[5100]).toBe(0);
});

test.each([false, true])("a write takes the pieces of RAM in order (dsync %s)", (dsync) => {
  using f = fixture(new Uint8Array(8192));
  f.memory.set([1, 2, 3], 100);
  f.memory.set([4, 5], 9000);
  expect(f.file.writev(f.ram, Pieces.of(9000, 2, 100, 3), 4095, dsync)).toBe(5);
  expect(f.file.flush()).toBe(0);
  expect([...readFileSync(f.path).subarray(4094, 4101)]).toEqual([0, 4, 5, 1, 2, 3, 0]);
});

test("a transfer of more pieces than the kernel takes at once is whole", () => {
  using f = fixture();
  const count = 3000;
  const pairs = new Float64Array(2 * count);
  for (let i = 0; i < count; i++) pairs.set([(count - 1 - i) * 512, 512], 2 * i);
  expect(f.file.readv(f.ram, new Pieces(pairs), 512)).toBe(count * 512);
  for (const i of [0, 1023, 1024, 2048, 2999]) {
    const at = (count - 1 - i) * 512;
    expect(f.memory.slice(at, at + 512)).toEqual(f.bytes.slice(512 + i * 512, 1024 + i * 512));
  }
});

test("nothing moves if one piece is not RAM, however late it comes", () => {
  using f = fixture();
  const pairs = new Float64Array(2 * 3000).fill(512);
  pairs[2 * 2999] = SIZE - 511;
  expect(f.file.readv(f.ram, new Pieces(pairs), 0)).toBe(EFAULT);
  expect(f.memory.every((byte) => byte === 0)).toBe(true);
  for (const bad of [-1, Number.NaN, Infinity, 0.5, SIZE + 1, 2 ** 53]) {
    expect(f.file.readv(f.ram, Pieces.of(bad, 512), 0)).toBe(EFAULT);
    expect(f.file.writev(f.ram, Pieces.of(0, bad), 0, false)).toBe(EFAULT);
  }
});

test("a file that ends gives what it has", () => {
  using f = fixture(pattern(1000));
  expect(f.file.readv(f.ram, Pieces.of(0, 600, 600, 600), 0)).toBe(1000);
  expect(f.memory[999]).toBe(f.bytes[999]);
  expect(f.file.readv(f.ram, Pieces.of(0, 600), 5000)).toBe(0);
  expect(f.file.read(new Uint8Array(10), 995)).toBe(5);
});

test("a kernel that got shorter after it was looked at is an error", () => {
  using f = fixture();
  truncateSync(f.path, 5000);
  expect(() => f.file.readInto(f.ram, 0, 8192, 0)).toThrow(/shorter than it was/);
  f.file.readInto(f.ram, 4096, 4096, 100);
  expect(f.memory.subarray(4096, 8192)).toEqual(f.bytes.subarray(100, 4196));
});

test("an error of the host's storage comes back as its number", () => {
  using ram = GuestRam.create(65536);
  using broken = HostFile.open("/proc/self/mem", { readOnly: true }); // nothing is mapped at 0
  expect(broken.readv(ram, Pieces.of(0, 512), 0)).toBe(-5);
  expect(() => broken.read(new Uint8Array(1), 0)).toThrow(expect.objectContaining({ code: "EIO" }));
});

test("a file that was opened to read cannot be written", () => {
  using f = fixture();
  using file = HostFile.open(f.path, { readOnly: true });
  expect(file.writev(f.ram, Pieces.of(0, 512), 0, false)).toBe(EBADF);
  expect(() => file.write(new Uint8Array(1), 0)).toThrow(expect.objectContaining({ code: "EBADF" }));
  expect(readFileSync(f.path).equals(f.bytes)).toBe(true);
});

test("bytes go to a file and back, also from shared memory", () => {
  using f = fixture();
  const shared = new Uint8Array(new SharedArrayBuffer(16));
  shared.fill(9);
  f.file.write(shared, SIZE - 8);
  expect(f.file.size).toBe(SIZE + 8);
  const back = new Uint8Array(16);
  expect(f.file.read(back, SIZE - 8)).toBe(16);
  expect(back.every((byte) => byte === 9)).toBe(true);
});

test("a discarded or zeroed range reads as zero, and the rest stays", () => {
  using f = fixture();
  for (const [at, work] of [
    [65536, () => f.file.discard(65536, 65536)],
    [262144, () => f.file.writeZeroes(262144, 65536, true)],
    [524288, () => f.file.writeZeroes(524288, 65536, false)],
  ] as const) {
    const result = work();
    if (result === -95) continue; // this file system cannot
    expect(result).toBe(0);
    const now = readFileSync(f.path);
    expect(now.subarray(at, at + 65536).every((byte) => byte === 0)).toBe(true);
    expect(now.subarray(at - 10, at).equals(f.bytes.subarray(at - 10, at))).toBe(true);
    expect(now[at + 65536]).toBe(f.bytes[at + 65536]);
  }
  expect(statSync(f.path).size).toBe(SIZE);
});

test("a new file is made once and can be given a length", () => {
  const path = join(folder, "new");
  using file = HostFile.open(path, { create: true });
  file.truncate(1 << 20);
  expect([file.size, file.isBlockDevice, file.blockSizes.logical]).toEqual([1 << 20, false, 512]);
  expect(() => HostFile.open(path, { create: true })).toThrow(expect.objectContaining({ code: "EEXIST" }));
});

test.each([
  ["a folder", "/", "EISDIR"],
  ["a character device", "/dev/null", "EINVAL"],
  ["nothing", "/no/such/file", "ENOENT"],
])("%s is not a file: the error says so at once", (_what, path, code) => {
  expect(() => HostFile.open(path, { readOnly: true })).toThrow(expect.objectContaining({ code }));
});

test("a closed file answers EBADF", () => {
  const f = fixture();
  f.file.close();
  f.file.close();
  expect(f.file.readv(f.ram, Pieces.of(0, 1), 0)).toBe(EBADF);
  expect(f.file.flush()).toBe(EBADF);
  expect(() => f.file.size).toThrow(expect.objectContaining({ code: "EBADF" }));
  f.ram.close();
});
