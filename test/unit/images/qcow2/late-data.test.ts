/**
 * Data that is only on its way when a write returns, as a guest's is: tables that
 * point to it reach the file after it, and a place is not used again before.
 */

import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Pieces } from "../../../../src/base/pieces.ts";
import { readDisk } from "../../../../src/disk/image.ts";
import { BufferMemory, type IoMemory } from "../../../../src/disk/io-memory.ts";
import { createQcow2 } from "../../../../src/images/qcow2/create.ts";
import type { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { createSnapshot } from "../../../../src/images/qcow2/snapshots.ts";
import type { HostFile } from "../../../../src/sys/file.ts";
import { diskFolder } from "../../../support/guest-disk.ts";
import { StorageRecorder } from "../../../support/power-loss.ts";
import { qemuCheck } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

const folder = diskFolder("late-data");
afterAll(() => folder.remove());

const KIB = 1024;
const MIB = 2 ** 20;
const BLOCK = 4 * KIB;
const SLOTS = 64;
let files = 0;

/** Blocks whose transfers to the file are made when somebody waits for them, last one first. */
class LateMemory implements IoMemory {
  readonly #bytes = new Uint8Array(SLOTS * BLOCK);
  readonly #at = new BufferMemory(this.#bytes);
  readonly #late: (() => void)[] = [];

  get underWay(): number {
    return this.#late.length;
  }

  /** Writes a block of `value` where nothing is in flight. Returns its offset. */
  put(value: number): number {
    if (this.underWay === SLOTS) this.settle();
    const offset = this.underWay * BLOCK;
    this.#bytes.fill(value, offset, offset + BLOCK);
    return offset;
  }

  readv(file: HostFile, pieces: Pieces, fileOffset: number): number {
    return this.#at.readv(file, pieces, fileOffset);
  }

  writev(file: HostFile, pieces: Pieces, fileOffset: number, dsync: boolean): number {
    const copy = new Pieces(pieces.copyPairs());
    const length = copy.bytes;
    this.#late.push(() => expect(this.#at.writev(file, copy, fileOffset, dsync)).toBe(length));
    return length;
  }

  window(offset: number, length: number): Uint8Array {
    return this.#at.window(offset, length);
  }

  settle(): void {
    for (const transfer of this.#late.splice(0).reverse()) transfer();
  }
}

function rig(size: number, cacheBytes = MIB) {
  const path = join(folder.path, `disk-${files++}.qcow2`);
  createQcow2(path, { size });
  const image = openQcow2(path, { cacheBytes });
  const memory = new LateMemory();
  image.settleWith(() => memory.settle());
  const write = (offset: number, value: number) => {
    const piece = Pieces.of(memory.put(value), BLOCK);
    expect(image.writev(memory, piece, offset, false)).toBe(BLOCK);
  };
  return { path, image, memory, write };
}

function isL2Table({ metadata }: Qcow2Image, offset: number): boolean {
  const { l1, geometry } = metadata;
  for (let i = 0; i < l1.size; i++) {
    const table = l1.pointer(i);
    if (table !== 0 && offset >= table && offset < table + geometry.clusterSize) return true;
  }
  return false;
}

test("a flush brings data, a barrier, and then the tables that point to it", () => {
  const { image, write } = rig(64 * MIB);
  using recorder = new StorageRecorder();
  for (let i = 0; i < 40; i++) write(i * 64 * KIB, 1 + i);
  image.flush();
  const writes = recorder.events.map((event, at) => ({ at, event }));
  const tables = writes.filter(({ event }) => event.kind === "write" && isL2Table(image, event.offset));
  const data = writes.filter(
    ({ event }) => event.kind === "write" && event.bytes.length === BLOCK && event.bytes[0] !== 0,
  );
  const linked = tables.filter(
    ({ event }) => event.kind === "write" && event.bytes.some((byte) => byte !== 0),
  );
  expect(data.length).toBeGreaterThanOrEqual(40);
  expect(linked.length).toBeGreaterThan(0);
  const lastData = Math.max(...data.slice(0, 40).map(({ at }) => at));
  expect(lastData).toBeLessThan(linked[0].at);
  expect(recorder.events.slice(lastData, linked[0].at).some(({ kind }) => kind === "flush")).toBe(true);
  image.close();
});

test("a table that is written because others need its place in the cache waits for its data too", () => {
  // 64 KiB of cache hold 16 slices; each of these writes needs one of its own.
  const { path, image, memory, write } = rig(2 ** 40, 1);
  const original = image.file.write.bind(image.file);
  let tables = 0;
  Object.assign(image.file, {
    write(bytes: Uint8Array, offset: number) {
      if (isL2Table(image, offset) && bytes.some((byte) => byte !== 0)) {
        tables++;
        expect(memory.underWay).toBe(0);
      }
      original(bytes, offset);
    },
  });
  for (let i = 0; i < 200; i++) write(((i * 7919) % 2000) * 512 * MIB, 1 + (i % 255));
  expect(tables).toBeGreaterThan(20);
  image.close();
  expect(qemuCheck(path)).toMatchObject({ corruptions: 0, errors: 0 });
});

test.each([1, 2, 3, 4])(
  "nothing that is in flight lands where something else is by then (seed %i)",
  (seed) => {
    const draw = random(seed);
    const below = (n: number) => Math.floor(draw() * n);
    const size = 4 * MIB;
    const { path, image, memory, write } = rig(size);
    const model = new Uint8Array(size);
    const under = new Set<number>();
    for (let step = 0; step < 600; step++) {
      if (memory.underWay === 0) under.clear();
      switch (below(12)) {
        case 0: {
          const cluster = below(size / (64 * KIB));
          // A guest does not discard what it is writing; what it wrote before may still move to another place.
          for (let block = cluster * 16; block < cluster * 16 + 16; block++)
            if (under.has(block)) memory.settle();
          expect(image.discard(cluster * 64 * KIB, 64 * KIB)).toBe(0);
          model.fill(0, cluster * 64 * KIB, (cluster + 1) * 64 * KIB);
          break;
        }
        case 1:
          image.flush();
          break;
        case 2:
          if (step % 50 === 0) {
            memory.settle();
            createSnapshot(image, `step ${step}`);
          }
          break;
        default: {
          const block = below(size / BLOCK / 8) * 8 + below(2);
          if (under.has(block)) memory.settle();
          const value = 1 + below(255);
          write(block * BLOCK, value);
          under.add(block);
          model.fill(value, block * BLOCK, (block + 1) * BLOCK);
        }
      }
    }
    memory.settle();
    const disk = new Uint8Array(size);
    readDisk(image, disk, 0);
    expect(Buffer.compare(disk, model)).toBe(0);
    image.close();
    expect(qemuCheck(path)).toMatchObject({ corruptions: 0, errors: 0 });
  },
);
