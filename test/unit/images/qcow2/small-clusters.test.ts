/** Tables that are longer than what one refcount block counts: small clusters, large disks. */
import { mkdtempSync, readdirSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { resizeQcow2 } from "../../../../src/images/qcow2/resize.ts";
import { applySnapshot, createSnapshot, deleteSnapshot } from "../../../../src/images/qcow2/snapshots.ts";
import { qemuCheck, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";

const GIB = 2 ** 30;
const TIB = 2 ** 40;
const folder = mkdtempSync(join(tmpdir(), "vmexit-small-clusters-"));
afterAll(() => rmSync(folder, { recursive: true }));
let count = 0;
const fresh = () => join(folder, `${count++}.qcow2`);

function expectWhole(path: string): void {
  expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
}

test.each([
  ["512-byte clusters, 1 GiB", { clusterSize: 512, size: GIB }],
  ["512-byte clusters, the largest disk", { clusterSize: 512, size: 128 * GIB }],
  ["512-byte clusters, counts of 64 bits", { clusterSize: 512, size: GIB, refcountBits: 64 }],
  ["512-byte clusters, counts of one bit", { clusterSize: 512, size: 64 * GIB, refcountBits: 1 }],
  ["version 2", { clusterSize: 512, size: 4 * GIB, version: 2 as const }],
  ["4 KiB clusters, 2 TiB", { clusterSize: 4096, size: 2 * TIB }],
  ["4 KiB clusters, the largest disk", { clusterSize: 4096, size: 8 * TIB }],
  ["lazy refcounts", { clusterSize: 512, size: 2 * GIB, lazyRefcounts: true }],
])("an image is made that QEMU finds whole: %s", (_, options) => {
  const path = fresh();
  createQcow2(path, options);
  expectWhole(path);
  qemuIo(path, [`write -P 5 ${options.size - 1024} 512`]);
  {
    using image = openQcow2(path);
    const bytes = new Uint8Array(512);
    readDisk(image, bytes, options.size - 1024);
    expect(bytes.every((byte) => byte === 5)).toBe(true);
    writeDisk(image, bytes.fill(6), 4096);
  }
  expectWhole(path);
});

test("one byte more than the format allows leaves no file", () => {
  const path = fresh();
  expect(() => createQcow2(path, { clusterSize: 512, size: 128 * GIB + 512 })).toThrow(
    "the disk would be larger than clusters of this size allow",
  );
  expect(readdirSync(folder)).not.toContain(path.split("/").at(-1));
});

test("a disk grows and shrinks past what one block counts, with data in it", () => {
  const path = fresh();
  createQcow2(path, { clusterSize: 512, size: 2 ** 20 });
  {
    using image = openQcow2(path);
    writeDisk(image, new Uint8Array(2 ** 20).fill(7), 0);
    resizeQcow2(image, 8 * GIB);
    writeDisk(image, new Uint8Array(4096).fill(8), 8 * GIB - 4096);
    resizeQcow2(image, 20 * GIB);
    resizeQcow2(image, 2 ** 20);
    resizeQcow2(image, 3 * GIB);
  }
  expectWhole(path);
  qemuIo(path, ["read -P 7 0 1M", "read -P 0 1M 1M"]);
});

test("QEMU's image with such tables is resized", () => {
  const path = fresh();
  qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "1G");
  qemuIo(path, ["write -P 1 0 300k", "write -P 2 900M 300k"]);
  {
    using image = openQcow2(path);
    resizeQcow2(image, 6 * GIB);
  }
  expectWhole(path);
  qemuIo(path, ["read -P 1 0 300k", "read -P 2 900M 300k"]);
});

test("snapshots copy long L1 tables, and give them back", () => {
  const path = fresh();
  createQcow2(path, { clusterSize: 512, size: 2 * GIB });
  {
    using image = openQcow2(path);
    writeDisk(image, new Uint8Array(200_000).fill(1), 2 ** 20);
    createSnapshot(image, "one");
    writeDisk(image, new Uint8Array(200_000).fill(2), 2 ** 20);
    createSnapshot(image, "two");
    applySnapshot(image, "one");
    deleteSnapshot(image, "two");
  }
  expectWhole(path);
  qemuIo(path, ["read -P 1 1M 195k"]);
});

test("preallocated metadata for small clusters", () => {
  const path = fresh();
  createQcow2(path, { clusterSize: 512, size: 64 * 2 ** 20, preallocation: "metadata" });
  expectWhole(path);
});

test("check builds refcounts anew that need a table of many blocks", () => {
  const path = fresh();
  createQcow2(path, { clusterSize: 512, size: 4 * GIB });
  {
    using image = openQcow2(path);
    writeDisk(image, new Uint8Array(100_000).fill(3), 12345 * 512);
  }
  damageRefcountTable(path);
  {
    using image = openQcow2(path, { repair: false });
    const result = checkQcow2(image, { repair: "all" });
    expect(result.corruptions).toBe(0);
  }
  expectWhole(path);
  qemuIo(path, [`read -P 3 ${12345 * 512} 97k`]);
});

/** Its first entry leads beyond the end of the file. */
function damageRefcountTable(path: string): void {
  using image = openQcow2(path, { repair: false });
  expect(image).toBeInstanceOf(Qcow2Image);
  const entry = new Uint8Array(8);
  new DataView(entry.buffer).setUint32(2, 0x4000_0000);
  image.file.write(entry, image.metadata.refcounts.table.offset);
  truncateSync(path, Math.ceil(image.file.size / 512) * 512);
}
