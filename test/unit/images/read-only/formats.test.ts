/** What each of the formats that are only read promises by itself; QEMU says what is right where it knows. */

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Pieces } from "../../../../src/base/pieces.ts";
import { readDisk } from "../../../../src/disk/image.ts";
import { BufferMemory } from "../../../../src/disk/io-memory.ts";
import type { ReadOnlyFormat } from "../../../../src/images/formats.ts";
import { openImage, probeFormat } from "../../../../src/images/open-image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { crc32c } from "../../../../src/images/vhdx/crc32c.ts";
import { sealChecksums } from "../../../support/foreign-images.ts";
import { ours, theirs } from "../../../support/img-pair.ts";
import { qemuContents, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";

const MIB = 2 ** 20;
const EROFS = -30;
const folder = mkdtempSync(join(tmpdir(), "vmexit-formats-"));
afterAll(() => rmSync(folder, { recursive: true }));
const raw = join(folder, "disk.raw");
beforeAll(() => {
  qemuImg("create", "-q", "-f", "raw", raw, "3M");
  qemuIo(raw, ["write -P 1 0 100k", "write -P 2 2M 64k"], "raw");
});

function make(format: ReadOnlyFormat, options: string): string {
  const path = join(folder, `${format}-${options.replaceAll(/\W/g, "")}.img`);
  qemuImg("convert", "-f", "raw", "-O", format, "-o", options, raw, path);
  return path;
}

/** A copy that was changed, or is what `change` gives; with a format its checksums are right again. */
function changed(path: string, change: (bytes: Buffer) => unknown, format?: ReadOnlyFormat): string {
  const bytes = readFileSync(path);
  const given = change(bytes);
  const result = given instanceof Buffer ? given : bytes;
  if (format !== undefined) sealChecksums(result, format);
  const copy = join(folder, "changed.img");
  writeFileSync(copy, result);
  return copy;
}

const opening = (path: string, format?: ReadOnlyFormat) => () =>
  openImage(path, { readOnly: true, ...(format !== undefined && { format }) }).close();

function contents(path: string): Uint8Array {
  using image = openImage(path, { readOnly: true });
  const bytes = new Uint8Array(image.size);
  readDisk(image, bytes, 0);
  return bytes;
}

test.each([
  ["vmdk", "subformat=monolithicSparse"],
  ["vpc", "subformat=dynamic"],
  ["vhdx", "subformat=dynamic"],
  ["vdi", "static=off"],
] as const)("a %s image is never written", (format, options) => {
  const path = make(format, options);
  const before = readFileSync(path);
  expect(probeFormat(path)).toBe(format);
  expect(() => openImage(path)).toThrow(`images of the format ${format} are only read`);
  using image = openImage(path, { readOnly: true });
  expect(image.readOnly).toBe(true);
  const piece = Pieces.of(0, 512);
  expect(image.writev(new BufferMemory(new Uint8Array(512)), piece, 0, false)).toBe(EROFS);
  expect(image.discard(0, 512)).toBe(EROFS);
  expect(image.writeZeroes(0, 512, true)).toBe(EROFS);
  expect(image.flush()).toBe(0);
  expect(Buffer.compare(readFileSync(path), before)).toBe(0);
});

test("an image that QEMU writes to is refused, as is a writer while it is read", () => {
  const path = make("vdi", "static=on");
  using _ = openImage(path, { readOnly: true });
  expect(() => qemuIo(path, ["write 0 512"], "vdi")).toThrow("lock");
});

test("a qcow2 image that does not say what it depends on finds that it is VMDK", () => {
  const below = make("vmdk", "subformat=streamOptimized");
  const over = join(folder, "unsaid.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", "-b", below, "-F", "vmdk", over);
  const bytes = readFileSync(over);
  bytes.writeUInt32BE(0x1234_5678, bytes.indexOf(Buffer.of(0xe2, 0x79, 0x2a, 0xca))); // the format's name is passed over
  writeFileSync(over, bytes);
  using image = openQcow2(over, { readOnly: true });
  expect(image.header.backingFormat).toBeUndefined();
  const disk = new Uint8Array(3 * MIB);
  readDisk(image, disk, 0);
  expect(Buffer.compare(disk, readFileSync(raw))).toBe(0);
});

describe("VMDK", () => {
  const DESCRIPTOR = 512;
  let sparse: string;
  let stream: string;
  beforeAll(() => {
    sparse = make("vmdk", "subformat=monolithicSparse");
    stream = make("vmdk", "subformat=streamOptimized");
  });
  const described = (from: string, to: string) =>
    changed(sparse, (bytes) => {
      const text = bytes.toString("latin1", DESCRIPTOR, DESCRIPTOR + 1024).replace(from, to);
      bytes.write(text.padEnd(2048, "\0"), DESCRIPTOR, "latin1");
    });

  test("a descriptor opens no other file, whatever it names", () => {
    const flat = join(folder, "flat.vmdk");
    qemuImg("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", raw, flat);
    expect(probeFormat(flat)).toBe("vmdk");
    expect(opening(flat)).toThrow(
      'it only describes a disk (of the type "monolithicFlat") that lies in other files',
    );
    const several = join(folder, "several.vmdk");
    qemuImg("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", raw, several);
    expect(opening(several)).toThrow('of the type "twoGbMaxExtentSparse"');
    expect(opening(join(folder, "several-s001.vmdk"))).toThrow(
      "it is one file of a disk that lies in several",
    );
    expect(opening(described('"monolithicSparse"', '"monolithicFlat"'))).toThrow(
      'of the type "monolithicFlat"',
    );
    expect(opening(described("RW ", 'RW 8 FLAT "/etc/passwd" 0\nRW '))).toThrow("its disk lies in 2 files");
    expect(opening(described("SPARSE", "FLAT"))).toThrow("in one that is not sparse");
    // The extent's name is not followed either: the file at hand is the extent.
    const renamed = described('.img"', '.img/../../etc/passwd"');
    expect(Buffer.compare(contents(renamed), readFileSync(raw))).toBe(0);
  });

  test("a snapshot that depends on another file is refused", () => {
    expect(opening(described("createType", 'parentFileNameHint="/etc/passwd"\ncreateType'))).toThrow(
      "depends on another file",
    );
    expect(opening(described("parentCID=ffffffff", "parentCID=12345678"))).toThrow("depends on another file");
  });

  test("tables whose place the footer says are found there", () => {
    const path = changed(stream, (bytes) => {
      const sectors = Math.ceil(bytes.length / 512) * 512;
      const tail = Buffer.alloc(3 * 512);
      tail.writeUInt32LE(3, 12);
      bytes.copy(tail, 512, 0, 512);
      bytes.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 56);
      return Buffer.concat([bytes, Buffer.alloc(sectors - bytes.length), tail]);
    });
    expect(Buffer.compare(qemuContents(path, "vmdk"), readFileSync(raw))).toBe(0);
    expect(Buffer.compare(contents(path), readFileSync(raw))).toBe(0);
    const cut = changed(path, (bytes) => bytes.subarray(0, bytes.length - 512));
    expect(opening(cut)).toThrow("it does not end with a footer: it was cut off");
  });

  test("line ends that a transfer changed are noticed", () => {
    expect(opening(changed(sparse, (bytes) => bytes.fill(0x0a, 75, 76)))).toThrow(
      "line ends in it were changed",
    );
  });

  test.each([
    [
      "an entry beyond the end of the file",
      (bytes: Buffer) => bytes.writeUInt32LE(0xffff, tableOf(bytes) + 4),
    ],
    [
      "a second grain that lies where the first does",
      (bytes: Buffer) => bytes.writeUInt32LE(128, tableOf(bytes) + 4),
    ],
  ])("check says what QEMU says: %s", (_, change) => {
    expectSameCheck(
      changed(sparse, (bytes) => change(bytes)),
      "vmdk",
    );
  });

  function tableOf(bytes: Buffer): number {
    return bytes.readUInt32LE(bytes.readUInt32LE(56) * 512) * 512;
  }
});

describe("VHD", () => {
  const CREATOR = 28;
  let dynamic: string;
  beforeAll(() => {
    dynamic = make("vpc", "subformat=dynamic");
  });

  // Not compared with QEMU 7.2, which takes the geometry of all but five programs; 11.1 gives these sizes.
  test.each([
    ["vpc ", "geometry"],
    ["qemu", "geometry"],
    ["qem2", "Current Size"],
    ["win ", "Current Size"],
    ["d2v ", "Current Size"],
    ["tap\0", "Current Size"],
    ["CTXS", "Current Size"],
    ["wa\0\0", "Current Size"],
    ["vbox", "Current Size"],
    ["vs  ", "Current Size"],
    ["ABCD", "Current Size"],
  ])("what %j made is as large as its %s", (creator, decides) => {
    let geometry = 0;
    const size = 3 * 2 ** 20 - 512;
    const path = changed(
      dynamic,
      (bytes) => {
        bytes.write(creator, CREATOR, "latin1");
        bytes.writeBigUInt64BE(BigInt(size), 48);
        geometry = bytes.readUInt16BE(56) * bytes[58] * bytes[59] * 512;
      },
      "vpc",
    );
    using image = openImage(path, { readOnly: true });
    expect(geometry).not.toBe(size);
    expect(image.size).toBe(decides === "geometry" ? geometry : size);
  });

  test("the other copy of the footer serves where one is damaged", () => {
    const path = changed(dynamic, (bytes) => bytes.fill(1, 80, 81));
    using image = openImage(path, { readOnly: true });
    using whole = openImage(dynamic, { readOnly: true });
    expect(image.size).toBe(whole.size);
  });

  test("a footer of 511 bytes, as before Virtual PC 2004, is one", () => {
    const fixed = make("vpc", "subformat=fixed,force_size=on");
    const bytes = readFileSync(fixed);
    const path = `${fixed}.511`;
    writeFileSync(path, bytes.subarray(0, bytes.length - 1));
    using image = openImage(path, { readOnly: true, format: "vpc" });
    expect(image.size).toBe(bytes.length - 512);
  });

  test("a differencing disk is refused", () => {
    expect(opening(changed(dynamic, (bytes) => bytes.writeUInt32BE(4, 60), "vpc"))).toThrow(
      "it is a differencing disk, which depends on another file",
    );
  });

  test("checksums are looked at", () => {
    const bothFooters = (bytes: Buffer) => {
      for (const at of [80, bytes.length - 512 + 80]) bytes.fill(1, at, at + 1);
    };
    expect(opening(changed(dynamic, bothFooters))).toThrow("the checksum of its footer is wrong");
    expect(opening(changed(dynamic, (bytes) => bytes.fill(1, 600, 601)))).toThrow(
      "the checksum of its header is wrong",
    );
  });

  test("a fixed disk has its footer behind it, and is not a VHD image without it", () => {
    const fixed = make("vpc", "subformat=fixed,force_size=on");
    expect(probeFormat(fixed)).toBe("raw");
    using image = openImage(fixed, { readOnly: true, format: "vpc" });
    expect(image.size).toBe(statSync(fixed).size - 512);
    expect(opening(raw, "vpc")).toThrow("this is not a VHD image");
  });
});

describe("VHDX", () => {
  const HEADERS = [65536, 2 * 65536];
  let dynamic: string;
  beforeAll(() => {
    dynamic = make("vhdx", "subformat=dynamic");
  });

  /** Names the log of somebody who opened the image, and puts an entry into it. */
  function withLog(change: (entry: Buffer) => void = () => {}, at = 0, guid = 7): string {
    return changed(
      dynamic,
      (bytes) => {
        for (const header of HEADERS) bytes.fill(7, header + 48, header + 64);
        const entry = Buffer.alloc(8192, 5);
        entry.write("loge", 0, "latin1");
        entry.writeUInt32LE(8192, 8);
        entry.writeUInt32LE(at, 12);
        entry.fill(guid, 32, 48);
        entry.writeUInt32LE(crc32c(entry, 4), 4);
        change(entry);
        // The log is a ring.
        entry.copy(bytes, MIB + at);
        if (at + 8192 > MIB) entry.copy(bytes, MIB, MIB - at);
      },
      "vhdx",
    );
  }

  test("an image with changes in its log is refused", () => {
    expect(opening(withLog())).toThrow("changes wait in its log to be replayed");
    expect(opening(withLog(undefined, 40960))).toThrow("changes wait in its log");
    expect(opening(withLog(undefined, MIB - 4096))).toThrow("changes wait in its log");
  });

  test.each<[string, () => string]>([
    ["an entry of another opening", () => withLog(undefined, 0, 8)],
    ["an entry with a wrong checksum", () => withLog((entry) => void entry.writeUInt8(1, 5000))],
    ["an entry of no length", () => withLog((entry) => void entry.writeUInt32LE(0, 8))],
    ["an entry longer than the log", () => withLog((entry) => void entry.writeUInt32LE(2 ** 31, 8))],
  ])("a log that holds no valid entry is empty, as for QEMU: %s", (_, make) => {
    const path = make();
    expect(Buffer.compare(contents(path), readFileSync(raw))).toBe(0);
    expect(qemuImg("info", "-f", "vhdx", path)).toContain("virtual size: 3 MiB");
  });

  test("a locator of a parent without the flag for one means nothing, as for QEMU", () => {
    const path = changed(dynamic, (bytes) => {
      const table = 3 * MIB;
      const count = bytes.readUInt16LE(table + 10);
      const entry = table + 32 * (count + 1);
      Buffer.from("2d5fd3a80bb34d45abf7d3d84834ab0c", "hex").copy(bytes, entry);
      bytes.writeUInt32LE(65536 + 4096, entry + 16);
      bytes.writeUInt32LE(20, entry + 20);
      bytes.writeUInt32LE(4, entry + 24);
      bytes.writeUInt16LE(count + 1, table + 10);
    });
    expect(Buffer.compare(contents(path), readFileSync(raw))).toBe(0);
  });

  test("the header with the larger number holds; one is enough", () => {
    const newer = (which: number) =>
      changed(
        dynamic,
        (bytes) => {
          bytes.writeBigUInt64LE(2n ** 40n, HEADERS[which] + 8);
          bytes.fill(7, HEADERS[0] + 48, HEADERS[0] + 64);
          bytes.writeUInt16LE(1, HEADERS[0] + 64); // the version of its log
        },
        "vhdx",
      );
    expect(opening(newer(0))).toThrow("changes wait in its log");
    expect(opening(newer(1))).not.toThrow();
    for (const at of HEADERS)
      expect(opening(changed(dynamic, (bytes) => bytes.fill(9, at, at + 1)))).not.toThrow();
    const none = changed(dynamic, (bytes) => {
      for (const at of HEADERS) bytes.fill(9, at, at + 1);
    });
    expect(opening(none)).toThrow("neither of its two headers is valid");
  });

  test("the second region table serves if the first is damaged", () => {
    const path = changed(dynamic, (bytes) => {
      bytes.copy(bytes, 4 * 65536, 3 * 65536, 4 * 65536);
      bytes.fill(9, 3 * 65536 + 20, 3 * 65536 + 21);
    });
    expect(Buffer.compare(contents(path), readFileSync(raw))).toBe(0);
  });

  test("a differencing disk is refused", () => {
    const path = changed(dynamic, (bytes) => bytes.fill(2, 3 * MIB + 65536 + 4, 3 * MIB + 65536 + 5));
    expect(opening(path)).toThrow("it is a differencing disk, which depends on another file");
  });

  test("blocks behind the first chunk are found: its sector bitmap has an entry in the table", () => {
    const path = join(folder, "chunks.vhdx");
    qemuImg("create", "-q", "-f", "vhdx", "-o", "block_size=1M", path, "9G");
    const places = [0, 4 * 1024 - 1, 4 * 1024, 4 * 1024 + 1, 8 * 1024, 8 * 1024 + 1, 9 * 1024 - 1];
    qemuIo(
      path,
      places.map((at, i) => `write -P ${i + 1} ${at}M 64k`),
      "vhdx",
    );
    using image = openImage(path, { readOnly: true });
    const bytes = new Uint8Array(65536);
    places.forEach((at, i) => {
      readDisk(image, bytes, at * MIB);
      expect(new Set(bytes)).toEqual(new Set([i + 1]));
    });
    readDisk(image, bytes, (4 * 1024 + 2) * MIB);
    expect(new Set(bytes)).toEqual(new Set([0]));
  });

  test("map shows where the disk lies, which QEMU does not know", () => {
    const [first, second] = JSON.parse(ours(folder, ["map", "--output=json", dynamic]).stdout);
    expect(first).toMatchObject({ start: 0, length: 3 * MIB, data: true, zero: false });
    expect(second).toBeUndefined();
    expect(readFileSync(dynamic).subarray(first.offset, first.offset + 100)).toEqual(Buffer.alloc(100, 1));
  });
});

describe("VDI", () => {
  let dynamic: string;
  beforeAll(() => {
    dynamic = make("vdi", "static=off");
  });

  test("images that stand on another are refused", () => {
    const differencing = changed(dynamic, (bytes) => bytes.writeUInt32LE(4, 76));
    expect(opening(differencing)).toThrow("it is a differencing image");
    expect(opening(changed(dynamic, (bytes) => bytes.fill(1, 440, 441)))).toThrow(
      "part of a chain of snapshots",
    );
  });

  test("a block that was discarded reads as zeros", () => {
    const path = changed(dynamic, (bytes) => bytes.writeUInt32LE(0xffff_fffe, 512));
    expect(Buffer.compare(contents(path), qemuContents(path, "vdi"))).toBe(0);
    expect(contents(path)[0]).toBe(0);
  });

  test.each([
    ["a block that is used twice", (bytes: Buffer) => bytes.writeUInt32LE(0, 512 + 4)],
    ["a block behind the last", (bytes: Buffer) => bytes.writeUInt32LE(77, 512)],
    ["another number of blocks than the header says", (bytes: Buffer) => bytes.writeUInt32LE(9, 388)],
  ])("check says what QEMU says: %s", (_, change) => {
    expectSameCheck(
      changed(dynamic, (bytes) => change(bytes)),
      "vdi",
    );
  });
});

function expectSameCheck(path: string, format: ReadOnlyFormat): void {
  for (const args of [
    ["check", "-f", format, path],
    ["check", "--output=json", path],
  ]) {
    const found = ours(folder, args);
    const expected = theirs(folder, args);
    const parsed = ({ stdout }: { stdout: string }) => (stdout.startsWith("{") ? JSON.parse(stdout) : stdout);
    expect({ ...found, stdout: parsed(found) }).toEqual({ ...expected, stdout: parsed(expected) });
  }
}
