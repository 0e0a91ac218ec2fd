/** A guest's disk as virtio-blk sees it, over files of this host. */

import { execFileSync } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { EINPROGRESS } from "../../../src/base/errno.ts";
import { Pieces } from "../../../src/base/pieces.ts";
import { describeDrive } from "../../../src/images/drive.ts";
import { HOST_FILES } from "../../../src/images/files.ts";
import { createQcow2 } from "../../../src/images/qcow2/create.ts";
import { Qcow2Image } from "../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../src/images/qcow2/open.ts";
import { createSnapshot } from "../../../src/images/qcow2/snapshots.ts";
import { TemporaryOverlay } from "../../../src/images/temporary-overlay.ts";
import { diskFolder, guestDisk, TAGS } from "../../support/guest-disk.ts";
import { random } from "../../support/random.ts";

const folder = diskFolder("guest-disk");
afterAll(() => folder.remove());

const MIB = 2 ** 20;
const EIO = -5;
let files = 0;

/** A raw disk whose sector n is full of n. */
function rawDisk(size = MIB): string {
  const file = join(folder.path, `disk-${files++}.img`);
  const content = Buffer.alloc(size);
  for (let i = 0; i < size; i++) content[i] = i >> 9;
  writeFileSync(file, content);
  return file;
}

function qcow2Disk(size = 16 * MIB): string {
  const file = join(folder.path, `disk-${files++}.qcow2`);
  createQcow2(file, { size });
  return file;
}

describe.each(["io_uring", "threads"] as const)("by %s", (engine) => {
  test("a disk is read into guest pages and written from them", () => {
    const file = rawDisk();
    const { memory, disk, read, writeStable, flush, notes } = guestDisk({ file, aio: engine });
    expect(read(7 * 512, 0x5000, 1024, 0x3000, 512)).toBe(1536);
    expect([0x5000, 0x5200, 0x3000].map((offset) => memory.getUint8(offset))).toEqual([7, 8, 9]);
    memory.write(0x8000, new Uint8Array(512).fill(0xab));
    expect(writeStable(512, 0x8000, 512)).toBe(512);
    expect(flush()).toBe(0);
    const content = readFileSync(file);
    expect([511, 512, 1023, 1024].map((i) => content[i])).toEqual([0, 0xab, 0xab, 2]);
    expect(notes).toEqual([]);
    disk.close();
  });

  test("a batch of requests is in flight together, and each has its own result", () => {
    const { memory, disk } = guestDisk({ file: rawDisk(), aio: engine, cache: "none" });
    for (let tag = 0; tag < TAGS; tag++) {
      expect(disk.readv(Pieces.of(4096 * tag, 4096), 4096 * tag, tag)).toBe(EINPROGRESS);
    }
    disk.submit();
    const over: number[] = [];
    while (over.length < TAGS) {
      const tag = disk.take();
      if (tag < 0) {
        disk.drain();
      } else {
        over.push(tag);
        expect(disk.result).toBe(4096);
      }
    }
    expect(over.sort((a, b) => a - b)).toEqual([...Array(TAGS).keys()]);
    expect(over.map((tag) => memory.getUint8(4096 * tag + 4095))).toEqual(
      over.map((tag) => (8 * tag + 7) & 0xff),
    );
    expect(disk.take()).toBe(-1);
    disk.close();
  });

  test("what the page cache holds is there at once, and what it does not is waited for", () => {
    const file = rawDisk();
    const { disk, memory } = guestDisk({ file, aio: engine });
    expect(disk.readv(Pieces.of(0, 512, 0x2000, 512), 1024, 9)).toBe(1024);
    expect([memory.getUint8(0), memory.getUint8(0x2000)]).toEqual([2, 3]);
    expect(disk.writev(Pieces.of(0, 512), 0, true, 9)).toBe(EINPROGRESS); // stable
    disk.drain();
    expect([disk.take(), disk.result]).toEqual([9, 512]);
    disk.close();
  });

  test("a transfer of more pieces than one system call takes is whole", () => {
    const { memory, disk, read } = guestDisk({ file: rawDisk(2 * MIB), aio: engine }, 4 * MIB);
    const iov: number[] = [];
    for (let i = 0; i < 1500; i++) iov.push(1024 * i, 512);
    expect(read(512, ...iov)).toBe(1500 * 512);
    expect([0, 1, 700, 1499].map((i) => memory.getUint8(1024 * i + 511))).toEqual(
      [1, 2, 701, 1500].map((sector) => sector & 0xff),
    );
    disk.close();
  });

  test("the missing part of the last sector reads as zeros, and is there once it is written", () => {
    const file = rawDisk(1000);
    const { memory, disk, read, write } = guestDisk({ file, aio: engine });
    expect(disk.size).toBe(1024);
    memory.write(0, new Uint8Array(0x4000).fill(0xff));
    expect(read(512, 0, 500, 0x1000, 12)).toBe(512);
    const found = [0, 487, 488, 499, 500, 0x1000, 0x100b, 0x100c].map((at) => memory.getUint8(at));
    expect(found).toEqual([1, 1, 0, 0, 0xff, 0, 0, 0xff]);
    expect(write(512, 0x2000, 512)).toBe(512);
    expect(statSync(file).size).toBe(1024);
    expect(readFileSync(file)[1023]).toBe(0xff);
    disk.close();
  });

  test("a file that was cut under the machine fails to read, it does not read as zeros", () => {
    const file = rawDisk();
    const { disk, read } = guestDisk({ file, aio: engine });
    expect(read(4096, 0, 512)).toBe(512);
    truncateSync(file, 600);
    expect(read(512, 0, 512)).toBe(EIO);
    expect(read(2048, 0, 4096)).toBe(EIO);
    expect(read(0, 0, 512)).toBe(512);
    disk.close();
  });

  test("a read-only disk takes no write", () => {
    const { disk, write } = guestDisk({ file: rawDisk(), aio: engine, readOnly: true });
    expect(disk.readOnly).toBe(true);
    expect(write(0, 0, 512)).toBeLessThan(0);
    disk.close();
  });

  test("buffers that are not all RAM move nothing", () => {
    const { disk, read } = guestDisk({ file: rawDisk(), aio: engine });
    expect(read(0, 0, 512, 2 * MIB - 256, 512)).toBe(-14);
    disk.close();
  });

  // Each request's data is what it was when the request was offered, whatever was
  // in flight beside it: allocations, snapshots, discards, tables that are evicted.
  test.each([
    [1, false],
    [2, true],
    [3, true],
  ])("qcow2: many requests at a time end as if one by one (seed %i, direct: %s)", (seed, direct) => {
    const next = random(seed);
    const below = (n: number) => Math.floor(next() * n);
    const file = qcow2Disk();
    const { memory, disk, flush } = guestDisk({
      file,
      format: "qcow2",
      aio: engine,
      cache: direct ? "none" : "writeback",
    });
    const model = new Uint8Array(16 * MIB);
    const BLOCK = 4096;
    /** Blocks of requests in flight; like a guest's file system, the test keeps them disjoint. */
    const busy = new Map<number, number>();
    const reads = new Map<number, number>();
    const take = () => {
      for (let tag = disk.take(); tag >= 0; tag = disk.take()) {
        expect(disk.result).toBe(BLOCK);
        const block = busy.get(tag) ?? -1;
        busy.delete(tag);
        if (reads.delete(tag)) {
          expect(
            Buffer.compare(
              memory.read(tag * BLOCK, BLOCK),
              model.subarray(block * BLOCK, (block + 1) * BLOCK),
            ),
          ).toBe(0);
        }
      }
    };
    for (let round = 0; round < 400; round++) {
      for (let tag = 0; tag < 32; tag++) {
        const block = below(64) * 16 + below(4);
        if (busy.has(tag) || [...busy.values()].includes(block)) continue;
        const piece = Pieces.of(tag * BLOCK, BLOCK);
        let result: number;
        if (next() < 0.6) {
          const bytes = new Uint8Array(BLOCK).fill(1 + below(255));
          memory.write(tag * BLOCK, bytes);
          model.set(bytes, block * BLOCK);
          result = disk.writev(piece, block * BLOCK, next() < 0.05, tag);
        } else {
          reads.set(tag, block);
          result = disk.readv(piece, block * BLOCK, tag);
        }
        if (result === EINPROGRESS) {
          busy.set(tag, block);
        } else {
          expect(result).toBe(BLOCK);
          if (reads.delete(tag)) {
            expect(
              Buffer.compare(
                memory.read(tag * BLOCK, BLOCK),
                model.subarray(block * BLOCK, (block + 1) * BLOCK),
              ),
            ).toBe(0);
          }
        }
      }
      disk.submit();
      take();
      if (next() < 0.1) {
        const cluster = below(64);
        if (![...busy.values()].some((block) => block >> 4 === cluster)) {
          expect(disk.discard(cluster * 65536, 65536, TAGS - 1)).toBe(0);
          model.fill(0, cluster * 65536, (cluster + 1) * 65536);
        }
      }
      if (round % 100 === 50) {
        disk.drain();
        take();
        expect(flush()).toBe(0);
        if (disk.image instanceof Qcow2Image) createSnapshot(disk.image, `at ${round}`);
      }
    }
    disk.drain();
    take();
    disk.close();
    expect(execFileSync("qemu-img", ["check", file], { encoding: "utf8" })).toContain("No errors were found");
    const raw = `${file}.raw`;
    execFileSync("qemu-img", ["convert", "-O", "raw", file, raw]);
    expect(Buffer.compare(readFileSync(raw), model)).toBe(0);
  });
});

test("what a drive is can be known without RAM", () => {
  const { disk } = guestDisk({ file: rawDisk(1000) });
  expect([disk.size, disk.blockSize]).toEqual([1024, 4096]);
  disk.close();
  const image = {
    format: "raw",
    readOnly: true,
    otherFiles: "folder",
    cacheBytes: undefined,
    cache: "writeback",
    aio: "threads",
    discard: "unmap",
    detectZeroes: "off",
    overlay: undefined,
  } as const;
  expect(describeDrive({ ...image, file: rawDisk(513) }, HOST_FILES).size).toBe(1024);
  const absent = { ...image, file: join(folder.path, "absent.img") };
  expect(() => describeDrive(absent, HOST_FILES)).toThrow(/ENOENT/);
});

test("zeroes and discards reach the file; a discard gives storage back where the file system can", () => {
  const file = rawDisk();
  const { disk, discard, zero } = guestDisk({ file });
  expect(zero(4096, 8192, false)).toBe(0);
  expect(zero(65536, 512, true)).toBe(0);
  const content = readFileSync(file);
  expect(content.subarray(4096, 12288).every((byte) => byte === 0)).toBe(true);
  expect(content.subarray(65536, 66048).every((byte) => byte === 0)).toBe(true);
  expect([content[4095], content[12288], content[66048]]).toEqual([7, 24, 129]);

  execFileSync("sync", [file]);
  const before = statSync(file).blocks;
  const result = discard(131072, 524288);
  if (result === 0) expect(statSync(file).blocks).toBeLessThan(before);
  else expect(result).toBe(-95);
  expect(statSync(file).size).toBe(MIB);
  disk.close();
});

describe.each(["io_uring", "threads"] as const)("erasures of a raw file by %s", (aio) => {
  test("do not wait for the host, and are one request with all their ranges", () => {
    const file = rawDisk();
    const { disk } = guestDisk({ file, aio });
    expect(disk.discard(0, 4096, 5)).toBe(EINPROGRESS);
    const further = [8192, 16_384, 24_576].map((offset) => disk.discard(offset, 4096, 5));
    expect(further).toEqual([0, 0, 0]);
    expect(disk.readv(Pieces.of(0, 512), 4096, 6)).toBe(512); // others go on
    disk.drain();
    expect([disk.take(), disk.result, disk.take()]).toEqual([5, 0, -1]);
    const content = readFileSync(file);
    expect([0, 4096, 8192, 12_288, 16_384, 24_576].map((at) => content[at])).toEqual([0, 8, 0, 24, 0, 0]);
    disk.close();
  });

  test("zeros are asked for at once, and queued when the host has shown that it can", () => {
    const file = rawDisk();
    const { disk, zero } = guestDisk({ file, aio });
    expect(disk.writeZeroes(512, 512, true, 1)).toBe(0);
    expect(disk.writeZeroes(2048, 1024, true, 1)).toBe(EINPROGRESS);
    disk.drain();
    expect([disk.take(), disk.result]).toEqual([1, 0]);
    expect(zero(8192, 512, false)).toBe(0);
    const content = readFileSync(file);
    expect([0, 512, 1024, 2048, 2560, 3072, 8192, 8704].map((at) => content[at])).toEqual([
      0, 0, 2, 0, 0, 6, 0, 17,
    ]);
    disk.close();
  });

  test("a range that was begun after the others had completed has its own result", () => {
    const { disk } = guestDisk({ file: rawDisk(), aio });
    expect(disk.discard(0, 4096, 5)).toBe(EINPROGRESS);
    disk.drain(); // completed, and not taken
    expect(disk.discard(8192, 4096, 5)).toBe(0);
    expect([disk.take(), disk.result, disk.take()]).toEqual([5, 0, -1]);
    disk.close();
  });

  test("an error of the host is the result", () => {
    const { disk, discard } = guestDisk({ file: rawDisk(), aio, readOnly: true });
    expect(discard(0, 4096)).toBe(-9); // EBADF: not open for writing
    disk.close();
  });
});

test("discard=ignore keeps the storage, and says that it is done", () => {
  const file = rawDisk();
  execFileSync("sync", [file]);
  const before = statSync(file).blocks;
  const { disk } = guestDisk({ file, discard: "ignore" });
  expect(disk.discard(0, MIB, 0)).toBe(0);
  expect(statSync(file).blocks).toBe(before);
  expect(readFileSync(file)[512]).toBe(1);
  disk.close();
});

describe("writes of zeros", () => {
  const cluster = 65536;
  const storedFor = (detectZeroes: "off" | "on" | "unmap", bytes: Uint8Array) => {
    const file = qcow2Disk();
    const { memory, disk, write } = guestDisk({ file, format: "qcow2", detectZeroes });
    memory.write(0, bytes);
    expect(write(cluster, 0, cluster)).toBe(cluster);
    disk.close();
    using image = openQcow2(file, { readOnly: true });
    return image.extentAt(cluster, cluster);
  };

  test.each(["on", "unmap"] as const)("become holes under detect-zeroes=%s", (mode) => {
    expect(storedFor(mode, new Uint8Array(cluster))).toMatchObject({ zero: true });
  });

  test("are data like any other unless they are looked for, or are not all zeros", () => {
    expect(storedFor("off", new Uint8Array(cluster))).toMatchObject({ data: true, zero: false });
    const bytes = new Uint8Array(cluster);
    bytes[cluster - 1] = 1;
    expect(storedFor("unmap", bytes)).toMatchObject({ data: true, zero: false, length: cluster });
  });
});

describe("past the page cache", () => {
  test("aligned and unaligned requests see each other's data", () => {
    const file = rawDisk();
    const { memory, disk, read, write } = guestDisk({ file, cache: "none" });
    memory.write(0x10000, new Uint8Array(8192).fill(0xc1));
    memory.write(0x20000, new Uint8Array(8192).fill(0xc2));
    expect(write(0, 0x10000, 8192)).toBe(8192);
    expect(write(512, 0x20000, 512)).toBe(512); // not aligned on disk
    expect(write(4096, 0x20200, 512)).toBe(512); // nor in memory
    expect(read(0, 0x30000, 8192)).toBe(8192);
    const found = [0, 511, 512, 1023, 1024, 4096, 4607, 4608, 8191].map((at) =>
      memory.getUint8(0x30000 + at),
    );
    expect(found).toEqual([0xc1, 0xc1, 0xc2, 0xc2, 0xc1, 0xc2, 0xc2, 0xc1, 0xc1]);
    expect(read(512, 0x40200, 1024)).toBe(1024);
    expect(memory.getUint8(0x40200)).toBe(0xc2);
    disk.close();
  });

  test("a qcow2 image is what qemu-img reads", () => {
    const file = qcow2Disk();
    const { memory, disk, write, flush } = guestDisk({ file, format: "qcow2", cache: "none" });
    memory.write(0, new Uint8Array(MIB).fill(0x77));
    expect(write(0, 0, MIB)).toBe(MIB);
    expect(write(3 * MIB + 512, 0, 1024)).toBe(1024);
    expect(flush()).toBe(0);
    disk.close();
    expect(execFileSync("qemu-img", ["check", file], { encoding: "utf8" })).toContain("No errors were found");
    const raw = `${file}.raw`;
    execFileSync("qemu-img", ["convert", "-O", "raw", file, raw]);
    const content = readFileSync(raw);
    expect([0, MIB - 1, MIB, 3 * MIB + 511, 3 * MIB + 512, 3 * MIB + 1536].map((at) => content[at])).toEqual([
      0x77, 0x77, 0, 0, 0x77, 0,
    ]);
  });
});

test("a temporary overlay takes the writes, and the image stays as it is", () => {
  const file = rawDisk();
  const before = readFileSync(file);
  const overlay = new TemporaryOverlay(MIB);
  const open = () => guestDisk({ file, overlay: overlay.path, readOnly: false });
  const first = open();
  first.memory.write(0, new Uint8Array(512).fill(0xee));
  expect(first.write(1024, 0, 512)).toBe(512);
  first.disk.close();
  const second = open(); // after a reset
  expect(second.read(512, 0x1000, 1536)).toBe(1536);
  expect([0x1000, 0x1200, 0x1400].map((at) => second.memory.getUint8(at))).toEqual([1, 0xee, 3]);
  second.disk.close();
  overlay.close();
  expect(Buffer.compare(readFileSync(file), before)).toBe(0);
});

test("a disk that grows while it is open is read where it grew", () => {
  const file = rawDisk(4096);
  const { disk, read, memory } = guestDisk({ file });
  expect(read(0, 0, 4096)).toBe(4096);
  const fd = openSync(file, "r+");
  writeSync(fd, Buffer.alloc(4096, 0x99), 0, 4096, 4096);
  closeSync(fd);
  expect(read(4096, 0, 4096)).toBe(4096);
  expect(memory.getUint8(0)).toBe(0x99);
  disk.close();
});
