import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { RawImage } from "../../../src/block/raw.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { GuestRam } from "../../../src/sys/guest-ram.ts";

const directory = mkdtempSync(join(tmpdir(), "vmexit-raw-"));
afterAll(() => rmSync(directory, { recursive: true }));

const MIB = 1 << 20;
let files = 0;

function rig(size: number, readOnly = false) {
  const path = join(directory, `disk-${files++}.img`);
  const content = Buffer.alloc(size);
  for (let i = 0; i < size; i++) content[i] = i >> 9;
  writeFileSync(path, content);
  const ram = GuestRam.create(2 * MIB);
  const image = RawImage.open(path, { readOnly, ram });
  const memory = new GuestMemory(ram, [{ address: 0, size: 2 * MIB, offset: 0 }]);
  return { path, ram, image, memory, content };
}

test("a disk is read into guest pages and written from them", () => {
  const { path, image, memory } = rig(MIB);
  expect(image.readv(Float64Array.of(0x5000, 1024, 0x3000, 512), 0, 2, 7 * 512)).toBe(1536);
  expect([0x5000, 0x5200, 0x3000].map((offset) => memory.getUint8(offset))).toEqual([7, 8, 9]);
  memory.write(0x8000, new Uint8Array(512).fill(0xab));
  expect(image.writev(Float64Array.of(0, 0, 0x8000, 512), 1, 1, 512, true)).toBe(512);
  expect(image.flush()).toBe(0);
  const content = readFileSync(path);
  expect([511, 512, 1023, 1024].map((i) => content[i])).toEqual([0, 0xab, 0xab, 2]);
  image.close();
});

test("what an image is can be known without RAM", () => {
  const { path, image } = rig(1000);
  expect(RawImage.describe(path, { readOnly: true })).toEqual({ size: 1024, blockSize: image.blockSize });
  expect(image.size).toBe(1024);
  image.close();
  expect(() => RawImage.describe(join(directory, "absent.img"), { readOnly: true })).toThrow(/ENOENT/);
});

test("the missing part of the last sector reads as zeros", () => {
  const { image, memory } = rig(1000);
  memory.write(0, new Uint8Array(1024).fill(0xff));
  expect(image.readv(Float64Array.of(0, 1024), 0, 1, 0)).toBe(1024);
  expect([999, 1000, 1023].map((offset) => memory.getUint8(offset))).toEqual([1, 0, 0]);
  image.close();
});

test("zeroes and discards reach the file; a discard gives storage back where the file system can", () => {
  const { path, image } = rig(MIB);
  expect(image.writeZeroes(4096, 8192, false)).toBe(0);
  expect(image.writeZeroes(65536, 512, true)).toBe(0);
  const content = readFileSync(path);
  expect(content.subarray(4096, 12288).every((byte) => byte === 0)).toBe(true);
  expect(content.subarray(65536, 66048).every((byte) => byte === 0)).toBe(true);
  expect([content[4095], content[12288], content[66048]]).toEqual([7, 24, 129]);

  execFileSync("sync", [path]);
  const before = statSync(path).blocks;
  const result = image.discard(131072, 524288);
  if (result === 0) expect(statSync(path).blocks).toBeLessThan(before);
  else expect(result).toBe(-95);
  expect(statSync(path).size).toBe(MIB);
  image.close();
});

test("a read-only image takes no write, and a closed one nothing", () => {
  const { image } = rig(MIB, true);
  expect(image.readOnly).toBe(true);
  expect(image.writev(Float64Array.of(0, 512), 0, 1, 0, false)).toBeLessThan(0);
  image.close();
  expect(image.readv(Float64Array.of(0, 512), 0, 1, 0)).toBe(-9);
  expect(image.flush()).toBe(-9);
});
