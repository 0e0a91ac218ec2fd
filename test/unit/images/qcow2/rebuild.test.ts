/**
 * Images whose refcount table or blocks are damaged: `check -r all` builds them
 * anew, as qemu-img does, and nothing else of the image changes.
 */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { type CreateOptions, createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { createSnapshot } from "../../../../src/images/qcow2/snapshots.ts";
import { ours, theirs } from "../../../support/img-pair.ts";
import { StorageRecorder, VolatileFile } from "../../../support/power-loss.ts";
import { qemuCheck, qemuContents, qemuImg } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

const KIB = 1024;
const MIB = 2 ** 20;
const TABLE_OFFSET_AT = 48;
const TABLE_CLUSTERS_AT = 56;

const folder = mkdtempSync(join(tmpdir(), "vmexit-rebuild-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "image.qcow2");

interface Sample {
  readonly bytes: Buffer;
  readonly clusterSize: number;
  /** Offsets of the L1 table, the refcount table, its first and its last block. */
  readonly l1: number;
  readonly table: number;
  readonly block: number;
  /** Blocks. */
  readonly blocks: number;
  readonly contents: Uint8Array;
  readonly snapshot: Uint8Array;
}

const KINDS: Record<string, CreateOptions> = {
  "clusters of 4 KiB": { size: 2 * MIB, clusterSize: 4096 },
  "many blocks": { size: MIB, clusterSize: 512, refcountBits: 32 },
  "version 2": { size: 2 * MIB, version: 2 },
  "narrow refcounts": { size: 2 * MIB, clusterSize: 1024, refcountBits: 2 },
  subclusters: { size: 2 * MIB, extendedL2: true, clusterSize: 16 * KIB, compressionType: "zstd" },
};
const samples = new Map<string, Sample>();

beforeAll(() => {
  for (const [kind, options] of Object.entries(KINDS)) samples.set(kind, sampleOf(options));
});

function sampleOf(options: CreateOptions): Sample {
  rmSync(path, { force: true });
  createQcow2(path, options);
  const image = openQcow2(path, { durable: false });
  const { clusterSize } = image.metadata.geometry;
  writeDisk(image, new Uint8Array(300 * KIB).fill(1), 100 * KIB);
  image.writeCompressed(new Uint8Array(clusterSize).fill(2), 0);
  createSnapshot(image, "one");
  writeDisk(image, new Uint8Array(50 * KIB).fill(3), 150 * KIB);
  image.discard(300 * KIB, 64 * KIB);
  image.close();
  const bytes = readFileSync(path);
  const table = Number(bytes.readBigUInt64BE(TABLE_OFFSET_AT));
  let blocks = 0;
  while (bytes.readBigUInt64BE(table + 8 * blocks) !== 0n) blocks++;
  return {
    bytes,
    clusterSize,
    l1: Number(bytes.readBigUInt64BE(40)),
    table,
    block: Number(bytes.readBigUInt64BE(table)),
    blocks,
    contents: qemuContents(path),
    snapshot: snapshotOf(path),
  };
}

function snapshotOf(file: string): Uint8Array {
  const raw = `${file}.snapshot`;
  qemuImg("convert", "-l", "one", "-O", "raw", file, raw);
  return readFileSync(raw);
}

interface Damage {
  readonly what: string;
  do(bytes: Buffer, sample: Sample): void;
  /** What QEMU 7.2 makes of it that is not made here: it gives up, or makes the file as long as an entry says. */
  readonly qemu?: "fails" | "lengthens";
}

const point = (bytes: Buffer, at: number, offset: number) => bytes.writeBigUInt64BE(BigInt(offset), at);

const DAMAGES: readonly Damage[] = [
  {
    what: "a cluster in use that counts as free",
    do: (bytes, { block, clusterSize }) => bytes.fill(0, block + clusterSize / 64, block + clusterSize / 32),
  },
  {
    what: "a table without blocks",
    do: (bytes, { table, blocks }) => bytes.fill(0, table, table + 8 * blocks),
  },
  {
    what: "a block of zeros",
    do: (bytes, { block, clusterSize }) => bytes.fill(0, block, block + clusterSize),
  },
  {
    what: "a block of ones",
    do: (bytes, { block, clusterSize }) => bytes.fill(0xff, block, block + clusterSize),
  },
  {
    what: "a block at no cluster",
    do: (bytes, { table, block }) => point(bytes, table, block + (block % 1024 === 0 ? 256 : 512)),
    qemu: "fails",
  },
  {
    what: "a block outside the file",
    do: (bytes, { table }) => point(bytes, table, 2 ** 28),
    qemu: "lengthens",
  },
  {
    what: "a block at a giant offset",
    do: (bytes, { table }) => point(bytes, table, 2 ** 55),
    qemu: "lengthens",
  },
  { what: "a block on the L1 table", do: (bytes, { table, l1 }) => point(bytes, table, l1) },
  { what: "a block on the table", do: (bytes, { table }) => point(bytes, table, table) },
  { what: "a block twice", do: (bytes, { table, block, blocks }) => point(bytes, table + 8 * blocks, block) },
  { what: "reserved bits", do: (bytes, { table }) => void bytes.writeUInt8(1, table + 7), qemu: "fails" },
  { what: "no table", do: (bytes) => void bytes.writeUInt32BE(0, TABLE_CLUSTERS_AT) },
  { what: "a table outside the file", do: (bytes) => point(bytes, TABLE_OFFSET_AT, 2 ** 30) },
  {
    what: "a table at no cluster",
    do: (bytes, { table }) => point(bytes, TABLE_OFFSET_AT, table + 256),
    qemu: "fails",
  },
  {
    what: "a table on the L1 table",
    do: (bytes, { l1 }) => point(bytes, TABLE_OFFSET_AT, l1),
    qemu: "lengthens",
  },
  { what: "a table on the header", do: (bytes) => point(bytes, TABLE_OFFSET_AT, 0), qemu: "lengthens" },
  {
    what: "a giant table",
    do: (bytes) => void bytes.writeUInt32BE(0xffff_ffff, TABLE_CLUSTERS_AT),
    qemu: "fails",
  },
];

function sampleNamed(kind: string): Sample {
  const sample = samples.get(kind);
  if (sample === undefined) throw new Error(`no sample ${kind}`);
  return sample;
}

function damaged(kind: string, { do: spoil }: Damage): Sample {
  const sample = sampleNamed(kind);
  const bytes = Buffer.from(sample.bytes);
  spoil(bytes, sample);
  writeFileSync(path, bytes);
  return sample;
}

function repair(file: string): void {
  using image = openQcow2(file, { repair: false });
  expect(checkQcow2(image, { repair: "all" })).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
}

/** To be what it was, but for where refcounts are. */
function expectWhole(file: string, { contents, snapshot }: Sample): void {
  const verdict = qemuCheck(file);
  expect(verdict, verdict.output).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  expect(Buffer.compare(qemuContents(file), contents)).toBe(0);
  expect(Buffer.compare(snapshotOf(file), snapshot)).toBe(0);
  using image = openQcow2(file, { readOnly: true });
  expect(checkQcow2(image)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
  const found = new Uint8Array(image.size);
  readDisk(image, found, 0);
  expect(Buffer.compare(found, contents)).toBe(0);
}

const CASES = Object.keys(KINDS).flatMap((kind) =>
  DAMAGES.map((damage) => [damage.what, kind, damage] as const),
);

test.each(CASES)("%s is mended, and the image is what it was: %s", (_, kind, damage) => {
  const sample = damaged(kind, damage);
  copyFileSync(path, join(folder, "theirs.qcow2"));
  repair(path);
  expectWhole(path, sample);
  // It is written to again, in clusters that are free.
  const image = openQcow2(path);
  writeDisk(image, new Uint8Array(200 * KIB).fill(9), 600 * KIB);
  image.close();
  // What counts as used beyond the end of the file is seen when the file gets there, by qemu-img too: it leaks.
  expect(qemuCheck(path)).toMatchObject({ corruptions: 0, errors: 0 });
  expect(Buffer.compare(snapshotOf(path), sample.snapshot)).toBe(0);
  if (damage.qemu !== undefined) return;
  expect(theirs(folder, ["check", "-q", "-r", "all", "theirs.qcow2"]).status).toBe(0);
  expectWhole(join(folder, "theirs.qcow2"), sample);
});

test.each(CASES.filter(([, , { qemu }]) => qemu === undefined))(
  "%s is reported and repaired in qemu-img's words: %s",
  (_, kind, damage) => {
    damaged(kind, damage);
    copyFileSync(path, join(folder, "theirs.qcow2"));
    for (const words of [[], ["-r", "all"], []]) {
      const expected = theirs(folder, ["check", ...words, "theirs.qcow2"]);
      expect(ours(folder, ["check", ...words, "image.qcow2"])).toEqual(expected);
    }
  },
);

test("leaks alone are not mended where refcounts cannot be believed", () => {
  damaged("clusters of 4 KiB", DAMAGES[0]);
  const before = readFileSync(path);
  const { status, stderr } = ours(folder, ["check", "-r", "leaks", "image.qcow2"]);
  expect(status).toBe(1);
  expect(stderr).toContain("ERROR need to rebuild refcount structures\n");
  expect(readFileSync(path).equals(before)).toBe(true);
});

test("an image without refcounts is not opened, and not written to before they are there", () => {
  damaged("clusters of 4 KiB", {
    what: "no table",
    do: (bytes) => void bytes.writeUInt32BE(0, TABLE_CLUSTERS_AT),
  });
  expect(() => openQcow2(path)).toThrow("it has no refcount table");
  using image = openQcow2(path, { repair: false });
  expect(() => writeDisk(image, new Uint8Array(512), 0)).toThrow("repair it before it is written to");
  checkQcow2(image, { repair: "all" });
  writeDisk(image, new Uint8Array(512), 0);
});

test("counts that the width of a refcount cannot hold are refused before anything is written", () => {
  const file = join(folder, "narrow.qcow2");
  createQcow2(file, { size: MIB, clusterSize: 1024, refcountBits: 1 });
  const image = openQcow2(file, { durable: false });
  writeDisk(image, new Uint8Array(8 * KIB).fill(1), 0);
  image.map.inspect(0);
  const { high, low } = image.map;
  image.map.inspect(1);
  image.map.set(1, high, low, 0, 0, false);
  image.close();
  const bytes = readFileSync(file);
  bytes.fill(0, bytes.readUInt32BE(TABLE_OFFSET_AT + 4), bytes.readUInt32BE(TABLE_OFFSET_AT + 4) + 8);
  writeFileSync(file, bytes);
  using spoiled = openQcow2(file, { repair: false });
  expect(() => checkQcow2(spoiled, { repair: "all" })).toThrow("2 times with refcounts of 1 bits");
  expect(readFileSync(file).equals(bytes)).toBe(true);
});

test.each(Object.keys(KINDS))(
  "a repair that a power loss stops is done again, and nothing is lost: %s",
  (kind) => {
    const draw = random(kind.length);
    for (const damage of DAMAGES) {
      const sample = damaged(kind, damage);
      const volatile = new VolatileFile(readFileSync(path));
      using recorder = new StorageRecorder();
      repair(path);
      const events = recorder.events.splice(0);
      const stop = Math.floor(draw() * events.length);
      for (const event of events.slice(0, stop)) volatile.tell(event);
      writeFileSync(path, volatile.afterLoss(draw));
      repair(path);
      expectWhole(path, sample);
    }
  },
);

test("refcounts of random bytes are mended", { timeout: 60_000 }, () => {
  const kinds = Object.keys(KINDS);
  for (let seed = 0; seed < 40; seed++) {
    const draw = random(seed);
    const sample = damaged(kinds[seed % kinds.length], {
      what: "noise",
      do: (bytes, { table, block, clusterSize }) => {
        for (let changes = 1 + draw() * 20; changes > 0; changes--) {
          const start = draw() < 0.5 ? table : block;
          bytes[start + Math.floor(draw() * (draw() < 0.5 ? 32 : clusterSize))] = draw() * 256;
        }
      },
    });
    repair(path);
    expectWhole(path, sample);
  }
});
