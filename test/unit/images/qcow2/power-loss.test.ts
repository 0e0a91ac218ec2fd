/**
 * The power fails: whatever the host had not flushed is lost in part, out of
 * order and torn between sectors. No image is damaged, clusters may leak, and
 * what was flushed is there. A failure names its seed.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Pieces } from "../../../../src/base/pieces.ts";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { BufferMemory } from "../../../../src/disk/io-memory.ts";
import { type BitmapEntry, readBitmapDirectory } from "../../../../src/images/qcow2/bitmap-directory.ts";
import { bitmapsOf, changeBitmap } from "../../../../src/images/qcow2/change-bitmaps.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { type CreateOptions, createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { readBits } from "../../../../src/images/qcow2/dirty-bitmaps.ts";
import type { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { resizeQcow2 } from "../../../../src/images/qcow2/resize.ts";
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from "../../../../src/images/qcow2/snapshots.ts";
import { type StorageEvent, StorageRecorder, VolatileFile } from "../../../support/power-loss.ts";
import { qemuCheck } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

/** Runs of each image, and losses in each run. VMEXIT_QCOW2_LOSSES=RUNS asks for more; VMEXIT_QCOW2_SEED for others. */
const RUNS = Number(process.env.VMEXIT_QCOW2_LOSSES ?? 3);
const SEED = Number(process.env.VMEXIT_QCOW2_SEED ?? 1);
const LOSSES = 16;
const STEPS = 24;
/** One loss in so many is shown to QEMU, which takes longer than all the rest. */
const JUDGED = 6;

const KIB = 1024;
const MIB = 2 ** 20;
const SECTOR = 512;
/** Sectors that are changed most often. */
const HOT = 384;

const folder = mkdtempSync(join(tmpdir(), "vmexit-power-loss-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The disk by sectors: each is filled with one 32-bit number. */
type Disk = Uint32Array;

/** What one call did to the files, and how the image is after it. */
interface Step {
  readonly what: string;
  readonly events: readonly StorageEvent[];
  readonly disk: Disk;
  readonly snapshots: ReadonlyMap<string, Disk>;
  /** All of it is on stable storage. */
  readonly flushed: boolean;
  /** Sectors that are. */
  readonly stable: readonly [first: number, count: number];
}

/** Reads the disk. @throws if a sector is torn */
function diskOf(image: { readonly size: number } & Parameters<typeof readDisk>[0]): Disk {
  const bytes = new Uint8Array(image.size);
  readDisk(image, bytes, 0);
  const words = new Uint32Array(bytes.buffer);
  const perSector = SECTOR / 4;
  const disk = new Uint32Array(words.length / perSector);
  for (let sector = 0; sector < disk.length; sector++) {
    disk[sector] = words[sector * perSector];
    const own = words.subarray(sector * perSector, (sector + 1) * perSector);
    if (!own.every((word) => word === disk[sector])) throw new Error(`sector ${sector} is torn`);
  }
  return disk;
}

/** Uses an image at random, and notes every step. */
class Run {
  readonly steps: Step[] = [];
  readonly #image: Qcow2Image;
  readonly #draw: () => number;
  readonly #recorder: StorageRecorder;
  readonly #snapshots: Map<string, Disk>;
  /** Bytes that the disk may get. */
  readonly #most: number;
  /** A sector that much happens behind. */
  readonly #hot: number;
  #tag: number;
  #serial = 0;

  constructor(
    image: Qcow2Image,
    draw: () => number,
    recorder: StorageRecorder,
    snapshots: Map<string, Disk>,
  ) {
    this.#image = image;
    this.#draw = draw;
    this.#recorder = recorder;
    this.#snapshots = snapshots;
    this.#tag = this.#int(2 ** 31);
    this.#most = image.size + MIB;
    this.#hot = this.#int(image.size / SECTOR);
    this.#note("open", true);
  }

  step(): void {
    const image = this.#image;
    const sectors = image.size / SECTOR;
    // Mostly in one place, where what one step frees is used by the next.
    const first = this.#draw() < 0.7 ? Math.min(sectors - 1, this.#hot + this.#int(HOT)) : this.#int(sectors);
    const count = 1 + this.#int(Math.min(sectors - first, this.#int(6) === 0 ? 1024 : 40));
    const range = `${first} ${count}`;
    switch (this.#int(16)) {
      case 0:
      case 1:
        image.flush();
        this.#note("flush", true);
        break;
      case 2:
        image.writeZeroes(first * SECTOR, count * SECTOR, this.#int(2) === 0);
        this.#note(`zero ${range}`);
        break;
      case 3:
      case 4:
        image.discard(first * SECTOR, count * SECTOR);
        this.#note(`discard ${range}`);
        break;
      case 5: {
        const memory = new BufferMemory(this.#bytes(count));
        const result = image.writev(memory, Pieces.of(0, count * SECTOR), first * SECTOR, true);
        expect(result).toBe(count * SECTOR);
        this.#note(`stable write ${range}`, false, [first, count]);
        break;
      }
      case 6:
        this.#compress();
        break;
      case 7:
        this.#snapshot();
        break;
      case 8:
        this.#resize();
        break;
      default:
        writeDisk(image, this.#bytes(count), first * SECTOR);
        this.#note(`write ${range}`);
    }
  }

  close(): void {
    const { disk } = this.steps[this.steps.length - 1];
    this.#image.close();
    this.#note("close", true, [0, 0], disk);
  }

  #compress(): void {
    const image = this.#image;
    const { clusterSize } = image.metadata.geometry;
    if (image.metadata.data !== image.file) return;
    const cluster = this.#int(Math.ceil(image.size / clusterSize));
    image.writeCompressed(this.#bytes(clusterSize / SECTOR), cluster * clusterSize);
    this.#note(`compressed ${cluster}`);
  }

  #resize(): void {
    const image = this.#image;
    if (image.header.version === 2 && image.header.snapshots > 0) return;
    const size = Math.max(64 * KIB, Math.min(this.#most, image.size + (this.#int(400) - 200) * SECTOR));
    resizeQcow2(image, size, "off");
    this.#note(`resize ${size}`, true);
  }

  #snapshot(): void {
    const image = this.#image;
    if (image.metadata.data !== image.file || image.metadata.geometry.refcountMax < 4) return;
    const names = [...this.#snapshots.keys()];
    const name = names[this.#int(names.length)];
    if (name === undefined || (names.length < 3 && this.#int(2) === 0)) {
      const fresh = `s${++this.#serial}-${this.#tag}`;
      createSnapshot(image, fresh);
      this.#snapshots.set(fresh, diskOf(image));
      this.#note(`snapshot ${fresh}`, true);
    } else if (this.#int(2) === 0) {
      applySnapshot(image, name);
      this.#note(`apply ${name}`, true);
    } else {
      deleteSnapshot(image, name);
      this.#snapshots.delete(name);
      this.#note(`delete ${name}`, true);
    }
  }

  #note(
    what: string,
    flushed = false,
    stable: readonly [number, number] = [0, 0],
    disk = diskOf(this.#image),
  ): void {
    const events = this.#recorder.events.splice(0);
    this.steps.push({ what, events, disk, snapshots: new Map(this.#snapshots), flushed, stable });
  }

  #bytes(sectors: number): Uint8Array {
    return new Uint8Array(new Uint32Array((sectors * SECTOR) / 4).fill(++this.#tag).buffer);
  }

  #int(below: number): number {
    return Math.floor(this.#draw() * below);
  }
}

/** What may be read after a loss in the middle of a step. */
class Promises {
  readonly #steps: readonly Step[];
  /** By sector: the last step after which it was stable. */
  readonly #floor: Uint32Array;
  #done = -1;

  constructor(steps: readonly Step[]) {
    this.#steps = steps;
    this.#floor = new Uint32Array(Math.max(...steps.map(({ disk }) => disk.length)));
  }

  /** The next step is done. */
  advance(): void {
    this.#done++;
    const { flushed, stable } = this.#steps[this.#done];
    if (flushed) this.#floor.fill(this.#done);
    else this.#floor.fill(this.#done, stable[0], stable[0] + stable[1]);
  }

  wrong(found: Disk): string[] {
    const now = Math.min(this.#done + 1, this.#steps.length - 1);
    const sizes = [this.#done, now].map((step) => this.#steps[step].disk.length);
    if (!sizes.includes(found.length)) return [`the disk has ${found.length} sectors, not ${sizes}`];
    const wrong: string[] = [];
    for (let sector = 0; sector < found.length; sector++) {
      const may = new Set<number>();
      for (let step = this.#floor[sector]; step <= now; step++) may.add(this.#steps[step].disk[sector] ?? 0);
      if (!may.has(found[sector]))
        wrong.push(`sector ${sector} holds ${found[sector]}, not one of ${[...may]}`);
    }
    return wrong;
  }

  /** @param found snapshots by name */
  wrongSnapshots(found: ReadonlyMap<string, Disk>): string[] {
    const now = this.#steps[Math.min(this.#done + 1, this.#steps.length - 1)].snapshots;
    const before = this.#steps[this.#done].snapshots;
    const wrong: string[] = [];
    for (const [name, disk] of found) {
      const expected = before.get(name) ?? now.get(name);
      if (expected === undefined) wrong.push(`there is a snapshot ${name}`);
      else if (!expected.every((tag, i) => disk[i] === tag))
        wrong.push(`snapshot ${name} is not what it was`);
    }
    for (const name of before.keys()) {
      if (now.has(name) && !found.has(name)) wrong.push(`snapshot ${name} is gone`);
    }
    return wrong;
  }
}

interface Kind extends CreateOptions {
  readonly size: number;
  /** The image has a dirty bitmap. */
  readonly isTracked?: boolean;
}

const GRANULARITY = 4096;

/** A dirty bitmap, and the disk as it was when the bitmap was empty. */
class Tracked {
  /** Losses in the moments in which an image is closed: before, its bitmap is in use. */
  static readonly closing = 24;
  readonly #path: string;
  #before: Disk = new Uint32Array();

  constructor(path: string) {
    this.#path = path;
    this.#begin();
  }

  /** If the bitmap is consistent, it has everything that changed. */
  judge(about: string): void {
    using image = openQcow2(this.#path, { readOnly: true });
    const entry = this.#consistent(image);
    if (entry === undefined) return;
    const { bytes } = readBits(image.file, image.header, entry);
    const missed: number[] = [];
    diskOf(image).forEach((tag, sector) => {
      const bit = Math.floor((sector * SECTOR) / GRANULARITY);
      const isMarked = (bytes[bit >> 3] & (1 << (bit & 7))) !== 0;
      if (tag !== (this.#before[sector] ?? 0) && !isMarked) missed.push(sector);
    });
    expect(missed, `${about}: changed sectors that the bitmap misses`).toEqual([]);
  }

  /** Between two runs: a bitmap that is not consistent is replaced, as a backup program does it. */
  renew(): void {
    using image = openQcow2(this.#path, { readOnly: true });
    const entry = this.#consistent(image);
    image.close();
    if (entry === undefined) this.#begin();
  }

  #consistent(image: Qcow2Image): BitmapEntry | undefined {
    const { entries = [] } = readBitmapDirectory(image.file, image.header) ?? {};
    return entries.find(({ name, inUse }) => name === "b" && !inUse);
  }

  #begin(): void {
    using image = openQcow2(this.#path);
    const exists = bitmapsOf(image).some(({ name }) => name === "b");
    if (exists) changeBitmap(image, "b", [{ kind: "remove" }]);
    changeBitmap(image, "b", [{ kind: "add", granularity: GRANULARITY }]);
    this.#before = diskOf(image);
  }
}

const BACKING = { backingFile: "base.raw", backingFormat: "raw" } as const;

test.each<[string, Kind]>([
  ["the smallest clusters", { size: MIB, clusterSize: 512 }],
  ["more tables than are cached", { size: 10 * MIB, clusterSize: 512, refcountBits: 8 }],
  ["narrow refcounts", { size: MIB, clusterSize: 4096, refcountBits: 1 }],
  ["clusters of 1 KiB with wide refcounts", { size: 2 * MIB, clusterSize: 1024, refcountBits: 64 }],
  ["clusters of 64 KiB", { size: 2 * MIB }],
  ["version 2", { size: MIB, version: 2, clusterSize: 1024 }],
  ["a backing file", { size: 2 * MIB, clusterSize: 4096, ...BACKING }],
  ["subclusters", { size: 2 * MIB, clusterSize: 16 * KIB, extendedL2: true }],
  ["subclusters over a backing file", { size: 2 * MIB, extendedL2: true, ...BACKING }],
  ["a data file", { size: 2 * MIB, clusterSize: 4096, dataFile: join(folder, "disk.data") }],
  [
    "a raw data file",
    { size: 2 * MIB, clusterSize: 4096, dataFile: join(folder, "disk.data"), dataFileRaw: true },
  ],
  ["lazy refcounts", { size: MIB, clusterSize: 1024, lazyRefcounts: true }],
  ["preallocated tables", { size: 2 * MIB, clusterSize: 4096, preallocation: "metadata" }],
  ["a dirty bitmap", { size: 2 * MIB, isTracked: true }],
  ["a dirty bitmap in small clusters", { size: 4 * MIB, clusterSize: 512, isTracked: true }],
  [
    "a dirty bitmap with lazy refcounts",
    { size: MIB, clusterSize: 1024, lazyRefcounts: true, isTracked: true },
  ],
  ["zstd", { size: 2 * MIB, clusterSize: 16 * KIB, compressionType: "zstd" }],
])(
  "a power loss damages nothing and loses nothing that was flushed: %s",
  { timeout: 600_000 },
  (name, kind) => {
    const path = join(folder, "disk.qcow2");
    const files = [path, join(folder, "disk.data")];
    for (const file of files) rmSync(file, { force: true });
    const base = new Uint32Array(MIB / 4).fill(0xba5e);
    writeFileSync(join(folder, "base.raw"), new Uint8Array(base.buffer));
    createQcow2(path, kind);
    const tracked = kind.isTracked === true ? new Tracked(path) : undefined;
    let snapshots = new Map<string, Disk>();
    const draw = random(SEED * 1000 + name.length);
    for (let run = 0; run < RUNS; run++) {
      const about = (what: string) => `seed ${SEED}, run ${run}, ${what}`;
      const stored = files.filter((file) => existsSync(file));
      const volatile = new Map(stored.map((file) => [file, new VolatileFile(readFileSync(file))]));
      const steps = record(path, draw, snapshots);
      const promises = new Promises(steps);
      const total = steps.reduce((sum, { events }) => sum + events.length, 0);
      const moments = new Set(Array.from({ length: LOSSES }, () => Math.floor(draw() * total)));
      for (let last = 1; tracked !== undefined && last <= Tracked.closing; last++) moments.add(total - last);
      let moment = 0;
      let losses = 0;
      for (const { events, what } of steps) {
        for (const event of events) {
          volatile.get(event.path)?.tell(event);
          if (!moments.has(moment++)) continue;
          for (const [file, contents] of volatile) writeFileSync(file, contents.afterLoss(draw));
          snapshots = judge(path, promises, about(`during ${what}`), losses++ % JUDGED === 0);
          tracked?.judge(about(`during ${what}`));
        }
        promises.advance();
      }
      tracked?.renew();
    }
  },
);

/** Uses the image for a while. */
function record(path: string, draw: () => number, snapshots: Map<string, Disk>): readonly Step[] {
  using recorder = new StorageRecorder();
  const image = openQcow2(path, { cacheBytes: 1 });
  const run = new Run(image, draw, recorder, new Map(snapshots));
  for (let step = 0; step < STEPS; step++) run.step();
  run.close();
  return run.steps;
}

/** Looks at what a loss left, and mends the leaks. Returns the snapshots in it. */
function judge(path: string, promises: Promises, about: string, byQemu: boolean): Map<string, Disk> {
  const said: string[] = [];
  const report = (line: string) => void said.push(line);
  const left = openQcow2(path, { readOnly: true });
  const { isDirtyImage, header } = left.metadata;
  const found = checkQcow2(left, { report });
  const errors = said.filter((line) => !line.startsWith("Leaked"));
  // Version 2 cannot say that it was stopped in the middle of making a snapshot.
  const stale = header.version === 2 ? errors.filter((line) => line.includes("OFLAG_COPIED")).length : 0;
  if (!isDirtyImage) expect(found.corruptions - stale, `${about}: ${errors.slice(0, 5).join("; ")}`).toBe(0);
  expect(promises.wrong(diskOf(left)), about).toEqual([]);
  const snapshots = new Map(
    listSnapshots(left).map(({ name }) => {
      using then = openQcow2(path, { readOnly: true, snapshot: name });
      return [name, diskOf(then)];
    }),
  );
  expect(promises.wrongSnapshots(snapshots), about).toEqual([]);
  left.close();
  if (byQemu && !isDirtyImage && stale === 0) {
    const verdict = qemuCheck(path);
    expect(verdict, `${about}: ${verdict.output}`).toMatchObject({ corruptions: 0, errors: 0 });
  }
  using mended = openQcow2(path);
  expect(checkQcow2(mended, { repair: "leaks" }), about).toMatchObject({ corruptions: 0, leaks: 0 });
  expect(promises.wrong(diskOf(mended)), about).toEqual([]);
  return snapshots;
}
