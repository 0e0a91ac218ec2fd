/** A raw image's size: of a file it can be changed, of a device it cannot. */
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { RawDisk } from "../../../src/images/raw-disk.ts";
import { HostFile } from "../../../src/sys/file.ts";

const KIB = 1024;
const folder = mkdtempSync(join(tmpdir(), "vmexit-raw-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(bytes: number): string {
  const path = join(folder, `${bytes}.img`);
  writeFileSync(path, Buffer.alloc(bytes));
  return path;
}

test("a file gets the size that is asked for", () => {
  const path = file(64 * KIB);
  using disk = RawDisk.open(path);
  disk.resize(16 * KIB);
  expect([disk.size, statSync(path).size]).toEqual([16 * KIB, 16 * KIB]);
});

test("resize of a block device did nothing, and said nothing", () => {
  const path = file(32 * KIB);
  const device = HostFile.open(path);
  Object.defineProperty(device, "isBlockDevice", { value: true }); // making one takes root
  using disk = new RawDisk(device);
  for (const size of [16 * KIB, 64 * KIB]) {
    expect(() => disk.resize(size)).toThrow(`a device of 32768 bytes cannot be made ${size} bytes long`);
    expect([disk.size, statSync(path).size]).toEqual([32 * KIB, 32 * KIB]);
  }
  truncateSync(path, 64 * KIB); // a volume that was extended
  disk.resize(64 * KIB);
  expect(disk.size).toBe(64 * KIB);
});
