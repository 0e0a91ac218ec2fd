/**
 * A host that fails: its file system is full, its disk returns errors, writes stop
 * half way. The caller gets an error, other data stays, and QEMU finds the
 * image whole. A failure names its seed.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, onTestFinished, test } from "vitest";
import { Pieces } from "../../../../src/base/pieces.ts";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { copyDisk } from "../../../../src/image-tools/copy.ts";
import { readBitmapDirectory } from "../../../../src/images/qcow2/bitmap-directory.ts";
import { changeBitmap } from "../../../../src/images/qcow2/change-bitmaps.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { type CreateOptions, createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { readBits } from "../../../../src/images/qcow2/dirty-bitmaps.ts";
import type { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { resizeQcow2 } from "../../../../src/images/qcow2/resize.ts";
import { RawDisk } from "../../../../src/images/raw-disk.ts";
import { SystemError } from "../../../../src/sys/errors.ts";
import { HostFile } from "../../../../src/sys/file.ts";
import { guestDisk } from "../../../support/guest-disk.ts";
import { qemuCheck, qemuContents } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

/** Seeds in an ordinary run; VMEXIT_QCOW2_FAULTS=FIRST-LAST tries others. */
const [FIRST, LAST] = (process.env.VMEXIT_QCOW2_FAULTS ?? "1-6").split("-").map(Number);
const SEEDS = Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i);

const MIB = 2 ** 20;
const SECTOR = 512;
const EIO = -5;
const ENOSPC = -28;

const folder = mkdtempSync(join(tmpdir(), "vmexit-qcow2-faults-"));
afterAll(() => rmSync(folder, { recursive: true }));

const { read, readv, write, writev, flush } = HostFile.prototype;
const good = { read, readv, write, writev, flush };
afterEach(() => void Object.assign(HostFile.prototype, good));

/** Makes calls of every open file fail, each with the probability that `chance` gives. */
class Spoiler {
  chance = 0;
  faults = 0;
  readonly #draw: () => number;

  constructor(draw: () => number) {
    this.#draw = draw;
    const spoiler = this;
    HostFile.prototype.read = function (bytes, offset) {
      if (spoiler.strikes()) throw new SystemError(EIO, "pread", `reading ${this.path} at ${offset}`);
      return read.call(this, bytes, offset);
    };
    HostFile.prototype.readv = function (...args) {
      return spoiler.strikes() ? EIO : readv.apply(this, args);
    };
    HostFile.prototype.write = function (bytes, offset) {
      const errno = spoiler.strikes() ? spoiler.errno() : 0;
      // Some of it arrives, in whole sectors.
      const arrives = Math.floor((draw() * bytes.length) / SECTOR) * SECTOR;
      write.call(this, errno === 0 ? bytes : bytes.subarray(0, arrives), offset);
      if (errno < 0) throw new SystemError(errno, "pwrite", `writing ${this.path} at ${offset}`);
    };
    HostFile.prototype.writev = function (memory, pieces, offset, dsync) {
      if (!spoiler.strikes()) return writev.call(this, memory, pieces, offset, dsync);
      if (draw() < 0.5) return spoiler.errno();
      const { pairs, first } = pieces;
      const some = Pieces.of(pairs[2 * first], Math.floor((draw() * pairs[2 * first + 1]) / SECTOR) * SECTOR);
      return writev.call(this, memory, some, offset, dsync);
    };
    HostFile.prototype.flush = function () {
      return spoiler.strikes() ? EIO : flush.call(this);
    };
  }

  strikes(): boolean {
    if (this.#draw() >= this.chance) return false;
    this.faults++;
    return true;
  }

  errno(): number {
    return this.#draw() < 0.5 ? EIO : ENOSPC;
  }
}

/** True if it was done; false if the host, or the image for that reason, refused. */
function attempt(change: () => number): boolean {
  try {
    return change() >= 0;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

/** Random changes, of which each sector's possible contents are kept in `may`. */
function change(image: Qcow2Image, draw: () => number, tag: number, may: Set<number>[]): void {
  const sectors = image.size / SECTOR;
  const first = Math.floor(draw() * sectors);
  const count = 1 + Math.floor(draw() * Math.min(sectors - first, draw() < 0.1 ? 2048 : 48));
  const [offset, length] = [first * SECTOR, count * SECTOR];
  const what = draw();
  if (what < 0.1) {
    attempt(() => image.flush());
    return;
  }
  const bytes = new Uint8Array(new Uint32Array(length / 4).fill(tag).buffer);
  const done = attempt(() => {
    if (what < 0.2) return image.discard(offset, length);
    if (what < 0.3) return image.writeZeroes(offset, length, draw() < 0.5);
    writeDisk(image, bytes, offset);
    return 0;
  });
  for (let sector = first; sector < first + count; sector++) {
    // A discard that was done may keep what it does not free.
    if (done && what >= 0.2) may[sector].clear();
    may[sector].add(what < 0.3 ? 0 : tag);
  }
}

test.each<[string, CreateOptions]>([
  ["small clusters", { size: 4 * MIB, clusterSize: 512 }],
  ["clusters of 64 KiB", { size: 24 * MIB }],
  ["version 2", { size: 8 * MIB, version: 2, clusterSize: 4096 }],
  [
    "subclusters over a backing file",
    { size: 8 * MIB, extendedL2: true, backingFile: "base.raw", backingFormat: "raw" },
  ],
  ["narrow refcounts", { size: 8 * MIB, clusterSize: 4096, refcountBits: 1 }],
])("writes that the host refuses damage nothing: %s", { timeout: 600_000 }, (name, options) => {
  const base = 0xba5e;
  writeFileSync(join(folder, "base.raw"), new Uint8Array(new Uint32Array((6 * MIB) / 4).fill(base).buffer));
  for (const seed of SEEDS) {
    const path = join(folder, `${name.replaceAll(" ", "-")}-${seed}.qcow2`);
    createQcow2(path, options);
    const draw = random(seed);
    const image = openQcow2(path, { cacheBytes: 1 });
    const may = Array.from(
      { length: image.size / SECTOR },
      (_, sector) => new Set([options.backingFile !== undefined && sector < (6 * MIB) / SECTOR ? base : 0]),
    );
    const spoiler = new Spoiler(draw);
    for (let tag = 1; tag <= 400; tag++) {
      // Quiet times and bad ones.
      if (tag % 50 === 0) spoiler.chance = tag % 100 === 0 ? 0 : draw() ** 2 * 0.5;
      change(image, draw, tag, may);
    }
    Object.assign(HostFile.prototype, good);
    expect(spoiler.faults, `seed ${seed}`).toBeGreaterThan(0);
    expect(image.flush(), `seed ${seed}`).toBe(0);
    const disk = new Uint8Array(image.size);
    readDisk(image, disk, 0);
    image.close();
    const verdict = qemuCheck(path);
    expect(verdict, `seed ${seed}: ${verdict.output}`).toMatchObject({ corruptions: 0, errors: 0 });
    const words = new Uint32Array(disk.buffer);
    const wrong = may.flatMap((tags, sector) => {
      const own = words.subarray(sector * 128, (sector + 1) * 128);
      const whole = tags.has(own[0]) && own.every((word) => word === own[0]);
      return whole ? [] : [`sector ${sector} holds ${own[0]}, not one of ${[...tags]}`];
    });
    expect(wrong, `seed ${seed}`).toEqual([]);
    expect(Buffer.compare(qemuContents(path), disk), `seed ${seed}`).toBe(0);
    using mended = openQcow2(path);
    expect(checkQcow2(mended, { repair: "leaks" }), `seed ${seed}`).toMatchObject({
      corruptions: 0,
      leaks: 0,
    });
    mended.close();
    rmSync(path);
  }
});

test("a file that gets shorter has lost data: reads there fail, others do not, and nobody takes it for zeros", () => {
  const path = join(folder, "shorter.qcow2");
  createQcow2(path, { size: 8 * MIB });
  {
    using image = openQcow2(path);
    writeDisk(image, new Uint8Array(MIB).fill(1), 0);
    writeDisk(image, new Uint8Array(512).fill(2), 2 * MIB); // the file ends within this cluster
  }
  using image = openQcow2(path);
  const cluster = new Uint8Array(65536);
  readDisk(image, cluster, 2 * MIB);
  expect(cluster).toEqual(new Uint8Array(65536).fill(2, 0, 512));
  const { offset = 0 } = image.extentAt(MIB - 65536).place ?? {};
  truncateSync(path, offset);
  const bytes = new Uint8Array(4096);
  readDisk(image, bytes, 0);
  expect(bytes).toEqual(new Uint8Array(4096).fill(1));
  for (const at of [MIB - 4096, 2 * MIB]) expect(() => readDisk(image, bytes, at)).toThrow("EIO");
  // A request that begins before the end of what is left fails as a whole.
  expect(() => readDisk(image, new Uint8Array(MIB), 0)).toThrow("EIO");
  createQcow2(join(folder, "copy.qcow2"), { size: 8 * MIB });
  using copy = openQcow2(join(folder, "copy.qcow2"));
  expect(() => copyDisk(image, copy)).toThrow("EIO");
  // What is written again is there again.
  writeDisk(image, new Uint8Array(65536).fill(3), 2 * MIB);
  readDisk(image, cluster, 2 * MIB);
  expect(cluster).toEqual(new Uint8Array(65536).fill(3));
});

test("a raw file that gets shorter has lost data, and a last sector that was never whole has not", () => {
  const path = join(folder, "shorter.raw");
  writeFileSync(path, Buffer.alloc(MIB + 100, 1));
  using disk = RawDisk.open(path);
  const sector = new Uint8Array(512);
  readDisk(disk, sector, MIB);
  expect(sector).toEqual(new Uint8Array(512).fill(1, 0, 100));
  truncateSync(path, MIB);
  expect(() => readDisk(disk, sector, MIB)).toThrow("EIO");
  readDisk(disk, sector, MIB - 512);
  expect(sector).toEqual(new Uint8Array(512).fill(1));
});

test.each(["io_uring", "threads"] as const)(
  "a guest's write that fails after it was begun leaves no table that points behind the file: %s",
  (engine) => {
    const file = join(folder, `begun-${engine}.qcow2`);
    createQcow2(file, { size: 16 * MIB });
    const { memory, disk, read, write, flush } = guestDisk({ file, format: "qcow2", aio: engine });
    memory.write(0, new Uint8Array(65536).fill(1));
    const limit = (bytes: string) => execFileSync("prlimit", ["--pid", `${process.pid}`, `--fsize=${bytes}`]);
    limit(`${MIB}:`);
    onTestFinished(() => void limit("unlimited:"));
    const results = Array.from({ length: 20 }, (_, i) => write(i * 65536, 0, 65536));
    limit("unlimited:");
    const stored = results.filter((result) => result === 65536).length;
    expect(stored).toBeGreaterThan(8);
    expect(results).toEqual([...new Array(stored).fill(65536), ...new Array(20 - stored).fill(-27)]); // EFBIG
    expect(flush()).toBe(0);
    copyFileSync(file, `${file}.copy`); // the image itself is locked
    expect(qemuCheck(`${file}.copy`)).toMatchObject({ corruptions: 0, errors: 0 });
    for (let i = 0; i < 20; i++) expect(read(i * 65536, 65536, 65536)).toBe(65536);
    expect(write(19 * 65536, 0, 65536)).toBe(65536);
    disk.close();
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
    const expected = Buffer.alloc(16 * MIB);
    expected.fill(1, 0, stored * 65536).fill(1, 19 * 65536, 20 * 65536);
    expect(Buffer.compare(qemuContents(file), expected)).toBe(0);
  },
);

test("a host that fails while bitmaps are stored or moved leaves them lost or in use, and the image whole", {
  timeout: 120_000,
}, () => {
  const start = join(folder, "bitmaps-start.qcow2");
  createQcow2(start, { size: 4 * MIB, clusterSize: 4096 });
  {
    using image = openQcow2(start);
    changeBitmap(image, "b", [{ kind: "add", granularity: 4096 }]);
    changeBitmap(image, "off", [{ kind: "add" }, { kind: "disable" }]);
  }
  const actions: readonly ((image: Qcow2Image) => void)[] = [
    (image) => resizeQcow2(image, 40 * MIB),
    (image) => resizeQcow2(image, MIB),
    (image) => changeBitmap(image, "off", [{ kind: "remove" }]),
    (image) => changeBitmap(image, "c", [{ kind: "add", granularity: 512 }]),
    (image) => image.close(),
  ];
  for (const [number, action] of actions.entries()) {
    for (let fails = 0; fails < 24; fails++) {
      const path = join(folder, "bitmaps.qcow2");
      copyFileSync(start, path);
      const image = openQcow2(path);
      writeDisk(image, new Uint8Array(4096).fill(1), 8192);
      const spoiler = new Spoiler(() => 1);
      let calls = 0;
      // One call fails, whichever it is, and all that come after it until the action has ended.
      spoiler.strikes = () => calls++ >= fails;
      attempt(() => {
        action(image);
        return 0;
      });
      Object.assign(HostFile.prototype, good);
      image.close();
      const about = `action ${number}, call ${fails}`;
      const verdict = qemuCheck(path);
      expect(verdict, `${about}: ${verdict.output}`).toMatchObject({ corruptions: 0, errors: 0 });
      using left = openQcow2(path, { readOnly: true });
      const entry = readBitmapDirectory(left.file, left.header)?.entries.find(({ name }) => name === "b");
      if (entry === undefined || entry.inUse) continue;
      expect(readBits(left.file, left.header, entry).bytes[0], about).toBe(0b100);
    }
  }
});
