/**
 * Images from somebody who means harm: whatever is in their tables, opening,
 * reading, writing and checking them ends, soon, with data or with a sentence.
 * A failure names its seed.
 */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { ImageError } from "../../../../src/disk/image-error.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { type CreateOptions, createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { resizeQcow2 } from "../../../../src/images/qcow2/resize.ts";
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from "../../../../src/images/qcow2/snapshots.ts";
import { SystemError } from "../../../../src/sys/errors.ts";
import { random } from "../../../support/random.ts";

/** Images in an ordinary run; VMEXIT_QCOW2_FUZZ=FIRST-LAST tries others. */
const [FIRST, LAST] = (process.env.VMEXIT_QCOW2_FUZZ ?? "1-400").split("-").map(Number);
/** Seeds that found something once. */
const FOUND = [2740];

const KIB = 1024;
const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-qcow2-hostile-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Good images, to be made bad. */
const good: Uint8Array[] = [];
beforeAll(() => {
  const kinds: CreateOptions[] = [
    { size: 2 * MIB, clusterSize: 512 },
    { size: 2 * MIB, clusterSize: 4096, version: 2 },
    { size: 2 * MIB, clusterSize: 16384, extendedL2: true, lazyRefcounts: true, compressionType: "zstd" },
    { size: 2 * MIB, clusterSize: 1024, refcountBits: 64 },
    { size: 2 * MIB, clusterSize: 1024, refcountBits: 2, preallocation: "metadata" },
  ];
  kinds.forEach((options, i) => {
    const path = join(folder, `good-${i}.qcow2`);
    createQcow2(path, options);
    const image = openQcow2(path, { durable: false });
    writeDisk(image, new Uint8Array(100 * KIB).fill(1), 3000 * 512);
    const { clusterSize } = image.metadata.geometry;
    image.writeCompressed(new Uint8Array(clusterSize).fill(2), 4 * clusterSize);
    createSnapshot(image, "one");
    writeDisk(image, new Uint8Array(10 * KIB).fill(3), 0);
    image.writeZeroes(64 * KIB, 20 * KIB, true);
    image.close();
    good.push(new Uint8Array(readFileSync(path)));
  });
});

/** Bytes that are worth changing: the header, and where the header says that tables are. */
function spoil(image: Uint8Array, draw: () => number): Uint8Array {
  const bytes = image.slice();
  const view = new DataView(bytes.buffer);
  const tables = [0, view.getUint32(44), view.getUint32(52), view.getUint32(68)];
  const clusterSize = 2 ** view.getUint32(20);
  const table = view.getUint32(tables[1] + 4);
  const block = view.getUint32(tables[2] + 4);
  tables.push(table, block);
  for (let changes = 1 + Math.floor(draw() * 6); changes > 0; changes--) {
    const start = tables[Math.floor(draw() * tables.length)];
    const reach = start === 0 ? 120 : draw() < 0.7 ? 32 : clusterSize;
    const at = Math.min(bytes.length - 8, start + Math.floor(draw() * reach));
    switch (Math.floor(draw() * 5)) {
      case 0:
        bytes[at] = draw() * 256;
        break;
      case 1:
        view.setUint32(at - (at % 4), [0, 1, 0xffff_ffff, 0x8000_0000, 0x7fff_ffff][Math.floor(draw() * 5)]);
        break;
      case 2: // a pointer to something that is in use
        view.setUint32(at - (at % 8) + 4, tables[Math.floor(draw() * tables.length)]);
        break;
      case 3: // a pointer to somewhere
        view.setUint32(at - (at % 8) + 4, Math.floor(draw() * 300) * clusterSize);
        break;
      default:
        bytes[at] ^= 1 << Math.floor(draw() * 8);
    }
  }
  return bytes;
}

/** Failures are sentences about the image or the host; anything else is a bug of ours. */
function tolerate(attempt: () => void): void {
  try {
    attempt();
  } catch (error) {
    if (error instanceof ImageError || error instanceof SystemError) return;
    throw error;
  }
}

function use(path: string): void {
  const image = openQcow2(path, { durable: false });
  try {
    const size = Math.min(image.size, 2 * MIB);
    const places = [0, 3000 * 512, 64 * KIB, size - 4096].filter((at) => at >= 0 && at + 4096 <= size);
    for (const at of places) tolerate(() => readDisk(image, new Uint8Array(4096), at));
    tolerate(() => listSnapshots(image));
    tolerate(() => void checkQcow2(image));
    for (const at of places) tolerate(() => writeDisk(image, new Uint8Array(4096).fill(9), at));
    tolerate(() => void image.writeZeroes(0, size, true));
    tolerate(() => void image.discard(0, size));
    tolerate(() => void createSnapshot(image, "two"));
    tolerate(() => applySnapshot(image, "one"));
    tolerate(() => deleteSnapshot(image, "one"));
    tolerate(() => resizeQcow2(image, size + MIB));
    tolerate(() => void checkQcow2(image, { repair: "all" }));
    tolerate(() => void image.flush());
  } finally {
    tolerate(() => image.close());
  }
}

function mend(path: string): void {
  using image = openQcow2(path, { durable: false, repair: false });
  tolerate(() => void checkQcow2(image, { repair: "all" }));
}

test("every spoiled image is used or refused, and the host is none the worse", { timeout: 600_000 }, () => {
  const seeds = [...FOUND, ...Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i)];
  for (const seed of seeds) {
    const draw = random(seed);
    const path = join(folder, "spoiled.qcow2");
    writeFileSync(path, spoil(good[seed % good.length], draw));
    const start = performance.now();
    try {
      tolerate(() => use(path));
      tolerate(() => mend(path));
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    expect(performance.now() - start, `seed ${seed}: milliseconds`).toBeLessThan(10_000);
  }
});

test("a guest cannot write its image's header, whatever the image says", () => {
  const path = join(folder, "header.qcow2");
  createQcow2(path, { size: MIB });
  const first = openQcow2(path, { durable: false });
  writeDisk(first, new Uint8Array(512).fill(1), 0);
  first.close();
  const bytes = readFileSync(path);
  const table = Number(bytes.readBigUInt64BE(bytes.readUInt32BE(44)) & 0x00ff_ffff_ffff_fe00n);
  for (const [target, what] of [
    [0, "is not valid|header"],
    [65536, "the refcount table"],
    [bytes.readUInt32BE(44), "the L1 table"],
  ] as const) {
    bytes.writeBigUInt64BE((1n << 63n) | BigInt(target), table);
    writeFileSync(path, bytes);
    const image = openQcow2(path);
    expect(() => writeDisk(image, new Uint8Array(512).fill(0x66), 0)).toThrow(new RegExp(what));
    // Marked, so that nobody writes to it before it is repaired.
    expect(() => writeDisk(image, new Uint8Array(512), 4096)).toThrow("it is marked corrupt");
    image.close();
    expect(readFileSync(path)[79] & 2).toBe(2);
    expect(readFileSync(path).subarray(target + 80, target + 512)).toEqual(
      bytes.subarray(target + 80, target + 512),
    );
  }
});

test("a guest cannot write its image's snapshot table, nor the end of a long one", () => {
  const path = join(folder, "snapshots.qcow2");
  createQcow2(path, { size: MIB, clusterSize: 512 });
  const first = openQcow2(path, { durable: false });
  for (const name of ["one", "two", "three"]) createSnapshot(first, name.repeat(60));
  writeDisk(first, new Uint8Array(512).fill(1), 0);
  first.close();
  const bytes = readFileSync(path);
  const table = Number(bytes.readBigUInt64BE(bytes.readUInt32BE(44)) & 0x00ff_ffff_ffff_fe00n);
  const snapshots = Number(bytes.readBigUInt64BE(64));
  for (const target of [snapshots, snapshots + 512]) {
    bytes.writeBigUInt64BE((1n << 63n) | BigInt(target), table);
    writeFileSync(path, bytes);
    const image = openQcow2(path);
    expect(() => writeDisk(image, new Uint8Array(512).fill(0x66), 0)).toThrow("the snapshot table");
    image.close();
    expect(readFileSync(path).subarray(target, target + 512)).toEqual(bytes.subarray(target, target + 512));
  }
});

test("a table that claims to be gigantic is refused before memory is taken for it", () => {
  const path = join(folder, "giant.qcow2");
  createQcow2(path, { size: MIB });
  const bytes = readFileSync(path);
  bytes.writeUInt32BE(0xffff_ffff, 36);
  writeFileSync(path, bytes);
  truncateSync(path, 2 ** 40);
  expect(() => openQcow2(path)).toThrow("an L1 table of 34359738360 bytes; the maximum is 33554432");
  bytes.writeUInt32BE(1, 36);
  bytes.writeUInt32BE(0xffff_ffff, 56);
  writeFileSync(path, bytes);
  expect(() => openQcow2(path)).toThrow(/a refcount table of \d+ bytes; the maximum is 8388608/);
});

test("compressed data that gives more than a cluster, or none, is an error and takes no memory", () => {
  const path = join(folder, "bomb.qcow2");
  createQcow2(path, { size: MIB });
  const image = openQcow2(path, { durable: false });
  image.writeCompressed(new Uint8Array(65536).fill(2), 0);
  image.map.inspect(0);
  const at = image.map.compressedOffset;
  image.close();
  const bytes = readFileSync(path);
  bytes.fill(0xff, at, at + 16);
  writeFileSync(path, bytes);
  using spoiled = openQcow2(path);
  expect(() => readDisk(spoiled, new Uint8Array(512), 0)).toThrow("a compressed cluster cannot be read");
});
