/** What the library promises about chains of images: commit, rebase, empty, measure. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import {
  applySnapshot,
  checkQcow2,
  commitImage,
  copyDisk,
  createImage,
  createSnapshot,
  emptyQcow2,
  measureImage,
  openImage,
  Qcow2Image,
  readDisk,
  rebaseImage,
  setBackingFile,
  writeDisk,
} from "../../../src/block.ts";
import { encodeHeader, type Header, parseHeader } from "../../../src/images/qcow2/header.ts";
import { readQcow2Header } from "../../../src/images/qcow2/open.ts";
import { rewriteHeader } from "../../../src/images/qcow2/rewrite-header.ts";
import { HostFile } from "../../../src/sys/file.ts";
import { qemuCheck, qemuContents } from "../../support/qemu-tools.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-chains-"));
afterAll(() => rmSync(folder, { recursive: true }));
let serial = 0;

/** Base and overlay; the base is filled with ones, the overlay holds twos from 64 KiB to 128 KiB. */
function chain(baseFormat: "raw" | "qcow2" = "qcow2", baseSize = 2 ** 20): { base: string; over: string } {
  const name = `${serial++}`;
  const base = join(folder, `${name}.base`);
  const over = join(folder, `${name}.over`);
  createImage(base, { format: baseFormat, size: baseSize });
  {
    using disk = openImage(base, { format: baseFormat });
    writeDisk(disk, new Uint8Array(baseSize).fill(1), 0);
  }
  createImage(over, {
    format: "qcow2",
    size: 2 ** 20,
    backingFile: `${name}.base`,
    backingFormat: baseFormat,
  });
  using disk = openImage(over);
  writeDisk(disk, new Uint8Array(65536).fill(2), 65536);
  return { base, over };
}

function openQcow2(path: string, options: { writableBacking?: number; readOnly?: boolean } = {}): Qcow2Image {
  const image = openImage(path, options);
  if (image instanceof Qcow2Image) return image;
  throw new Error(`${path} is not qcow2`);
}

function byteAt(path: string, offset: number): number {
  using disk = openImage(path, { readOnly: true });
  const byte = new Uint8Array(1);
  readDisk(disk, byte, offset);
  return byte[0];
}

test("a commit moves everything down, and leaves an image that holds nothing", () => {
  const { base, over } = chain();
  {
    using image = openQcow2(over, { writableBacking: 1 });
    commitImage(image);
    expect(image.extentAt(0)).toMatchObject({ allocated: false, length: 2 ** 20 });
  }
  expect(byteAt(base, 65536)).toBe(2);
  expect(byteAt(over, 65536)).toBe(2);
  expect(statSync(over).size).toBe(4 * 65536);
  for (const path of [base, over]) expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0 });
});

test.each(["raw", "qcow2"] as const)(
  "a %s base that is smaller grows, and what is new reads as the disk does",
  (format) => {
    const { base, over } = chain(format, 4096);
    {
      using image = openQcow2(over, { writableBacking: 1 });
      commitImage(image, { keep: true });
    }
    const bytes = qemuContents(base, format);
    expect(bytes.length).toBe(2 ** 20);
    expect([bytes[0], bytes[4096], bytes[65536], bytes[131072]]).toEqual([1, 0, 2, 0]);
  },
);

test("only a base that was opened for writing, and that is in the chain, is written to", () => {
  const { over } = chain();
  using image = openQcow2(over);
  expect(() => commitImage(image)).toThrow(/base: it is open for reading only/);
  const { base } = chain();
  using stranger = openQcow2(base);
  expect(() => commitImage(image, { base: stranger })).toThrow(/is not below it/);
  expect(() => commitImage(stranger)).toThrow(/does not have a backing file/);
});

test("emptying an image keeps its snapshots", () => {
  const { over } = chain();
  using image = openQcow2(over);
  createSnapshot(image, "kept");
  writeDisk(image, new Uint8Array(4096).fill(3), 65536);
  emptyQcow2(image);
  const byte = new Uint8Array(1);
  readDisk(image, byte, 65536);
  expect(byte[0]).toBe(1);
  expect(checkQcow2(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  applySnapshot(image, "kept");
  readDisk(image, byte, 65536);
  expect(byte[0]).toBe(2);
});

test("a rebase keeps zeros that the new backing file does not have, without storing them", () => {
  const { base } = chain();
  const path = join(folder, "zeros.qcow2");
  createImage(path, { format: "qcow2", size: 2 ** 20 });
  {
    using image = openQcow2(path);
    using below = openImage(base, { readOnly: true });
    rebaseImage(image, { name: base, format: "qcow2" }, below);
  }
  expect(statSync(path).size).toBeLessThan(2 ** 19);
  expect(qemuContents(path).every((byte) => byte === 0)).toBe(true);
});

test("what two chains have in common is not even compared", () => {
  const { base, over } = chain();
  using image = openQcow2(over);
  using below = openImage(base, { readOnly: true });
  const reads = vi.spyOn(below, "readv");
  rebaseImage(image, { name: base, format: "qcow2" }, below);
  expect(reads).not.toHaveBeenCalled();
});

test("a name that does not fit is refused before anything is copied", () => {
  const { base, over } = chain();
  const before = readFileSync(over);
  {
    using image = openQcow2(over);
    using below = openImage(base, { readOnly: true });
    expect(() => rebaseImage(image, { name: "x".repeat(1024), format: "raw" }, below)).toThrow(
      /more than 1023/,
    );
    expect(() => setBackingFile(image, { name: "x".repeat(1024), format: "raw" })).toThrow(/more than 1023/);
  }
  expect(readFileSync(over).equals(before)).toBe(true);
});

/** A file of which only the first so many writes arrive. */
function tornFile(bytes: Uint8Array, writes: number) {
  let left = writes;
  return {
    path: "torn.qcow2",
    read: (into: Uint8Array, offset: number) => {
      into.set(bytes.subarray(offset, offset + into.length));
      return into.length;
    },
    write: (from: Uint8Array, offset: number) => {
      if (left-- > 0) bytes.set(from, offset);
    },
  };
}

test("a header that is written only in part names either the old files or the new ones", () => {
  const { over } = chain();
  using file = HostFile.open(over, { readOnly: true });
  const header = readQcow2Header(file);
  const names = ["a", "b".repeat(300), "c".repeat(1023), undefined, "d".repeat(1000), "e"];
  for (const from of names) {
    for (const to of names) {
      for (const writes of [0, 1, 2]) {
        const named = (name: string | undefined): Header => ({
          ...header,
          backingFile: name,
          backingFormat: name === undefined ? undefined : "raw",
        });
        const bytes = new Uint8Array(file.size);
        bytes.set(encodeHeader(over, named(from)));
        rewriteHeader(tornFile(bytes, writes), named(to), () => {});
        const found = parseHeader(over, bytes, bytes.length);
        expect(found.backingFile).toBe(writes === 2 ? to : from);
        expect(found.backingFormat).toBe(found.backingFile === undefined ? undefined : "raw");
      }
    }
  }
});

test("fields that a later version put into the header are kept", () => {
  const { over } = chain();
  const bytes = readFileSync(over);
  const header = parseHeader(over, bytes.subarray(0, 65536), bytes.length);
  const longer = encodeHeader(over, { ...header, otherFields: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
  writeFileSync(over, Buffer.concat([longer, bytes.subarray(65536)]));
  {
    using image = openQcow2(over);
    setBackingFile(image, undefined);
  }
  const after = readFileSync(over);
  expect(after.readUInt32BE(100)).toBe(120);
  expect([...after.subarray(112, 120)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(qemuCheck(over)).toMatchObject({ corruptions: 0, errors: 0 });
});

test("a new image takes no more than was measured", () => {
  const { over } = chain();
  using source = openImage(over, { readOnly: true });
  for (const clusterSize of [512, 4096, 65536, 2 ** 20]) {
    const { required, fullyAllocated, bitmaps } = measureImage(source, { format: "qcow2", clusterSize });
    const path = join(folder, `measured-${clusterSize}`);
    createImage(path, { format: "qcow2", size: source.size, clusterSize });
    {
      using target = openImage(path);
      copyDisk(source, target, { targetIsZero: true });
    }
    expect(statSync(path).size).toBeLessThanOrEqual(required);
    expect(required).toBeLessThanOrEqual(fullyAllocated);
    expect(bitmaps).toBe(0);
  }
  expect(() => measureImage(1, { format: "qcow2", clusterSize: 1000 })).toThrow(/power of two/);
  expect(() => measureImage(2 ** 52, { format: "qcow2", clusterSize: 512 })).toThrow(/too large/);
});

test("a copy of a damaged disk continues on request, and names every sector", () => {
  const { base } = chain();
  const packed = join(folder, "packed.qcow2");
  createImage(packed, { format: "qcow2", size: 2 ** 20 });
  {
    using source = openImage(base, { readOnly: true });
    using target = openImage(packed);
    copyDisk(source, target, { compressed: true });
  }
  const bytes = readFileSync(packed);
  {
    using image = openQcow2(packed);
    image.map.inspect(0);
    bytes.fill(0xff, image.map.compressedOffset, image.map.compressedOffset + 4);
  }
  writeFileSync(packed, bytes);
  const path = join(folder, "salvaged.raw");
  createImage(path, { format: "raw", size: 2 ** 20 });
  using source = openImage(packed, { readOnly: true });
  using target = openImage(path, { format: "raw" });
  expect(() => copyDisk(source, target)).toThrow(/compressed cluster/);
  const lost: number[] = [];
  copyDisk(source, target, { unreadable: (offset) => lost.push(offset) });
  expect(lost).toEqual(Array.from({ length: 128 }, (_, sector) => sector * 512));
  const bytesNow = readFileSync(path);
  expect([bytesNow[0], bytesNow[65535], bytesNow[65536]]).toEqual([0, 0, 1]);
});
