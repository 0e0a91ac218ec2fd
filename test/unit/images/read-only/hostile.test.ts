/**
 * Images of other formats from somebody who means harm: whatever is in their
 * headers and tables, looking at them and reading them ends, soon, with data or
 * with a sentence. A failure names its seed.
 */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blockStatus } from "../../../../src/disk/block-status.ts";
import { readDisk } from "../../../../src/disk/image.ts";
import { ImageError } from "../../../../src/disk/image-error.ts";
import { describeImage } from "../../../../src/image-tools/describe.ts";
import type { ReadOnlyFormat } from "../../../../src/images/formats.ts";
import { openImage } from "../../../../src/images/open-image.ts";
import { ReadOnlyImage } from "../../../../src/images/read-only-image.ts";
import { SystemError } from "../../../../src/sys/errors.ts";
import { KINDS, type Kind, makeForeign, sealChecksums } from "../../../support/foreign-images.ts";
import { qemuImg, qemuIo } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

/** Images of each kind in an ordinary run; VMEXIT_FOREIGN_FUZZ=FIRST-LAST tries others. */
const [FIRST, LAST] = (process.env.VMEXIT_FOREIGN_FUZZ ?? "1-60").split("-").map(Number);
/** Seeds that found something once. */
const FOUND: readonly number[] = [];

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-foreign-hostile-"));
afterAll(() => rmSync(folder, { recursive: true }));

const good = new Map<Kind, Buffer>();
beforeAll(() => {
  const raw = join(folder, "disk.raw");
  qemuImg("create", "-q", "-f", "raw", raw, "3M");
  qemuIo(raw, ["write -P 1 0 100k", "write -P 2 2M 64k"], "raw");
  for (const kind of KINDS) {
    good.set(kind, readFileSync(makeForeign(raw, kind)));
  }
});

/** Where headers and tables are, and how long. */
function parts(bytes: Buffer, format: ReadOnlyFormat): readonly (readonly [at: number, length: number])[] {
  switch (format) {
    case "vmdk": {
      const directory = bytes.readUInt32LE(56) * 512;
      const descriptor = [512, 700] as const;
      return [[0, 80], descriptor, [directory, 8], [bytes.readUInt32LE(directory) * 512, 256]];
    }
    case "vpc":
      return [
        [0, 88],
        [bytes.length - 512, 88],
        [512, 64],
        [1536, 16],
      ];
    case "vhdx": // headers, region table; table of blocks; metadata, its items
      return [
        [0, 16],
        [65536, 80],
        [131072, 80],
        [196608, 96],
        [2 * MIB, 64],
        [3 * MIB, 224],
        [3 * MIB + 65536, 64],
      ];
    case "vdi":
      return [
        [64, 16],
        [336, 128],
        [512, 16],
      ];
  }
}

const NUMBERS = [0, 1, 2, 0xff, 0x200, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

function spoil(image: Buffer, format: ReadOnlyFormat, draw: () => number): Buffer {
  const bytes = Buffer.from(image);
  const places = parts(image, format);
  const int = (most: number) => Math.floor(draw() * most);
  for (let changes = 1 + int(5); changes > 0; changes--) {
    const [start, length] = places[int(places.length)];
    const at = Math.min(bytes.length - 8, start + int(length));
    switch (int(6)) {
      case 0:
        bytes[at] = int(256);
        break;
      case 1:
        bytes.writeUInt32LE(NUMBERS[int(NUMBERS.length)], at - (at % 4));
        break;
      case 2:
        bytes.writeUInt32BE(NUMBERS[int(NUMBERS.length)], at - (at % 4));
        break;
      case 3: // a pointer to something that is in use
        bytes.writeUInt32LE(places[int(places.length)][0] / (draw() < 0.5 ? 512 : 1), at - (at % 4));
        break;
      case 4: // sixteen bytes from another place
        bytes.copy(bytes, at, places[int(places.length)][0], places[int(places.length)][0] + 16);
        break;
      default:
        bytes[at] ^= 1 << int(8);
    }
  }
  if (draw() < 0.9) sealChecksums(bytes, format);
  return draw() < 0.1 ? bytes.subarray(0, int(bytes.length)) : bytes;
}

/** Failures are sentences about the image or the host; anything else is a bug of ours. */
function tolerate(attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    if (error instanceof ImageError || error instanceof SystemError) return false;
    throw error;
  }
}

function use(path: string, format: ReadOnlyFormat): void {
  using image = openImage(path, { format, readOnly: true });
  describeImage(image);
  const { size } = image;
  for (const at of [0, 64 * 1024 - 512, 2 * MIB, size - 4096, size - 512]) {
    if (at < 0 || at >= size) continue;
    tolerate(() => readDisk(image, new Uint8Array(Math.min(300_000, size - at)), at));
  }
  tolerate(() => {
    for (let at = 0, steps = 0; at < size && steps < 10_000; steps++)
      at += blockStatus(image, at, size - at).length;
  });
  tolerate(() => {
    if (image instanceof ReadOnlyImage) image.parts.check?.(() => {});
  });
}

describe.each(KINDS)("$format $name", (kind) => {
  test("every spoiled image is read or refused", { timeout: 300_000 }, () => {
    const image = good.get(kind) ?? Buffer.alloc(0);
    const seeds = [...FOUND, ...Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i)];
    let read = 0;
    for (const seed of seeds) {
      const path = join(folder, "spoiled");
      writeFileSync(path, spoil(image, kind.format, random(seed)));
      const start = performance.now();
      try {
        if (tolerate(() => use(path, kind.format))) read++;
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      expect(performance.now() - start, `seed ${seed}: milliseconds`).toBeLessThan(5000);
    }
    // Else the damage is too small or too large.
    if (FIRST === 1) expect(read).toBeGreaterThan(seeds.length / 20);
    if (FIRST === 1) expect(read).toBeLessThan(seeds.length);
  });

  test("an image cut off anywhere is refused, or what is missing is an error: never zeros", () => {
    const image = good.get(kind) ?? Buffer.alloc(0);
    const path = join(folder, "cut");
    const whole = new Uint8Array(3 * MIB);
    writeFileSync(path, image);
    using complete = openImage(path, { format: kind.format, readOnly: true, lock: false });
    readDisk(complete, whole, 0);
    const draw = random(1);
    for (let i = 0; i < 60; i++) {
      const length = i < 20 ? i * 200 : Math.floor(draw() * image.length);
      const cut = join(folder, "cut-off");
      writeFileSync(cut, image.subarray(0, length));
      tolerate(() => {
        using opened = openImage(cut, { format: kind.format, readOnly: true });
        const size = Math.min(opened.size, whole.length);
        for (let at = 0; at < size; at += 65536) {
          const found = new Uint8Array(Math.min(65536, size - at));
          if (!tolerate(() => readDisk(opened, found, at))) continue;
          expect(
            Buffer.compare(found, whole.subarray(at, at + found.length)),
            `${length} bytes, at ${at}`,
          ).toBe(0);
        }
      });
    }
  });
});

/** An image in a file of a TiB that is nearly all hole. */
function giant(kind: Kind, change: (bytes: Buffer) => void): string {
  const path = join(folder, `giant-${kind.name}.${kind.format}`);
  const bytes = Buffer.from(good.get(kind) ?? []);
  change(bytes);
  sealChecksums(bytes, kind.format);
  writeFileSync(path, bytes);
  truncateSync(path, 2 ** 40);
  return path;
}

function kindOf(format: ReadOnlyFormat, name: string): Kind {
  const found = KINDS.find((kind) => kind.format === format && kind.name === name);
  if (found === undefined) throw new Error(`${format} ${name} is not made`);
  return found;
}

test("tables that claim to be gigantic take no more memory than the cache has", () => {
  const images = [
    // A directory of 32 Mi grain tables: 1 PiB.
    giant(kindOf("vmdk", "monolithicSparse"), (bytes) => {
      bytes.writeBigUInt64LE(2n ** 41n, 12);
      bytes.writeBigUInt64LE(2n ** 21n, 56);
    }),
    // 64 Mi blocks of 1 MiB.
    giant(kindOf("vhdx", "dynamic"), (bytes) => {
      bytes.writeBigUInt64LE(2n ** 46n, sizeItem(bytes));
      const entry = 3 * 65536 + 16 + (bytes.readUInt32LE(3 * 65536 + 16) === 0x2dc27766 ? 0 : 32);
      bytes.writeBigUInt64LE(2n ** 33n, entry + 16);
      bytes.writeUInt32LE(2 ** 30, entry + 24);
    }),
    giant(kindOf("vdi", "dynamic"), (bytes) => {
      bytes.writeUInt32LE(0x3fff_ffff, 384);
      bytes.writeBigUInt64LE(BigInt(0x3fff_ffff) * 2n ** 20n, 368);
    }),
    giant(kindOf("vpc", "dynamic"), (bytes) => {
      bytes.writeUInt32BE(0xff00_0000, 512 + 28);
      bytes.writeUInt32BE(512, 512 + 32);
      bytes.writeBigUInt64BE(0xff00_0000n * 512n, 48);
    }),
  ];
  for (const path of images) {
    const before = process.memoryUsage().arrayBuffers;
    using image = openImage(path, { readOnly: true });
    expect(image.size).toBeGreaterThan(2 ** 40);
    for (const at of [0, image.size / 2, image.size - 4096]) {
      tolerate(() => readDisk(image, new Uint8Array(4096), Math.floor(at / 512) * 512));
    }
    expect(process.memoryUsage().arrayBuffers - before, path).toBeLessThan(40 * MIB);
  }
});

function sizeItem(bytes: Buffer): number {
  const guid = Buffer.from([0x24, 0x42, 0xa5, 0x2f]);
  const table = bytes.indexOf("metadata");
  const entry = bytes.indexOf(guid, table);
  return table + bytes.readUInt32LE(entry + 16);
}

test("tables larger than any are refused by their size", () => {
  const vmdk = giant(kindOf("vmdk", "monolithicSparse"), (bytes) => bytes.writeBigUInt64LE(2n ** 50n, 12));
  expect(() => openImage(vmdk, { readOnly: true })).toThrow(
    /a disk of \d+ sectors, in \d+ grain tables; the maximum is 33554432/,
  );
  const vdi = giant(kindOf("vdi", "dynamic"), (bytes) => bytes.writeUInt32LE(0xffff_ffff, 384));
  expect(() => openImage(vdi, { readOnly: true })).toThrow(
    "a disk of 3145728 bytes in 4294967295 blocks of 1 MiB",
  );
  const vhdx = giant(kindOf("vhdx", "dynamic"), (bytes) =>
    bytes.writeBigUInt64LE(2n ** 62n, sizeItem(bytes)),
  );
  expect(() => openImage(vhdx, { readOnly: true })).toThrow(
    "whole sectors of 512 bytes are wanted, up to 64 TiB",
  );
});

test("a compressed grain that gives more than a grain, or none, is an error and takes no memory", () => {
  const bytes = Buffer.from(good.get(kindOf("vmdk", "streamOptimized")) ?? []);
  const grain = bytes.readUInt32LE(bytes.readUInt32LE(bytes.readUInt32LE(56) * 512) * 512) * 512;
  const path = join(folder, "bomb.vmdk");
  const reading = (change: (bytes: Buffer) => void) => () => {
    const spoiled = Buffer.from(bytes);
    change(spoiled);
    writeFileSync(path, spoiled);
    using image = openImage(path, { readOnly: true });
    readDisk(image, new Uint8Array(512), 0);
  };
  expect(reading(() => {})).not.toThrow();
  expect(reading((it) => it.fill(0xff, grain + 12, grain + 40))).toThrow(
    `the compressed grain at offset ${grain} cannot be read`,
  );
  expect(reading((it) => it.writeUInt32LE(0xffff_ffff, grain + 8))).toThrow(
    "claims to be 4294967295 bytes long",
  );
  expect(reading((it) => it.writeBigUInt64LE(64n, 20))).toThrow("cannot be read"); // half as large a grain
});
