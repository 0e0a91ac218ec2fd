/** Clusters compressed with Zstandard: what QEMU and the zstd tool write is read, and the other way round. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { ImageError } from "../../../../src/disk/image-error.ts";
import { compress, decompress } from "../../../../src/images/compressed.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { wasmZstd, zstd } from "../../../../src/images/zstd.ts";
import { zstdFrameLength } from "../../../../src/images/zstd-frame.ts";
import { ours } from "../../../support/img-pair.ts";
import { qemuCheck, qemuContents, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

const KIB = 1024;
const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-zstd-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Words that repeat, a run of one byte, and noise: every kind of block that zstd knows. */
function material(length: number, seed: number): Uint8Array {
  const draw = random(seed);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const run = Math.min(length - at, 1 + Math.floor(draw() * 3000));
    if (draw() < 0.2) for (let i = 0; i < run; i++) bytes[at + i] = draw() * 256;
    else bytes.fill(draw() < 0.3 ? "x" : `word ${Math.floor(draw() * 50)} `, at, at + run);
    at += run;
  }
  return new Uint8Array(bytes);
}

/** What the zstd tool makes of bytes that it reads from a pipe: it does not know how many come. */
function frameOf(bytes: Uint8Array, ...options: string[]): Uint8Array {
  return new Uint8Array(execFileSync("zstd", ["-c", "-q", ...options], { input: bytes, maxBuffer: 8 * MIB }));
}

const FRAMES: [string, Uint8Array, string[]][] = [
  ["without a content size", material(64 * KIB, 1), ["--no-check"]],
  ["with a checksum", material(64 * KIB, 2), ["--check"]],
  ["with a content size", material(64 * KIB, 3), ["--stream-size=65536"]],
  ["of several blocks", material(2 * MIB, 4), []],
  ["of one byte again and again", new Uint8Array(MIB).fill(7), []],
  ["of noise", new Uint8Array(300 * KIB).map((_, i) => Math.imul(i, 2654435761) >>> 13), []],
  ["of the smallest cluster", material(512, 5), []],
  ["at the highest level", material(MIB, 6), ["-19"]],
];

test.each(FRAMES)("a frame %s ends where it ends, whatever follows", (_, bytes, options) => {
  const frame = frameOf(bytes, ...options);
  const data = new Uint8Array(frame.length + 1000).fill(0xfd);
  data.set(frame);
  expect(zstdFrameLength(data, 0)).toBe(frame.length);
  expect(Buffer.compare(decompress("x", data, bytes.length, "zstd"), bytes)).toBe(0);
  for (const cut of [0, 1, 4, 7, 12, frame.length - 1]) {
    expect(zstdFrameLength(frame.subarray(0, cut), 0)).toBe(undefined);
    expect(() => decompress("x", frame.subarray(0, cut), bytes.length, "zstd")).toThrow(ImageError);
  }
});

test("a cluster may be made of several frames, some to be skipped, as QEMU reads it", () => {
  const bytes = material(64 * KIB, 9);
  const skipped = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
  const parts = [
    frameOf(bytes.subarray(0, 1000)),
    skipped,
    frameOf(bytes.subarray(1000)),
    new Uint8Array(99).fill(9),
  ];
  expect(Buffer.compare(decompress("x", Buffer.concat(parts), bytes.length, "zstd"), bytes)).toBe(0);
});

test("a frame that holds more than a cluster, or less, is an error and takes no memory", () => {
  const bomb = frameOf(new Uint8Array(64 * MIB));
  expect(() => decompress("x", bomb, 64 * KIB, "zstd")).toThrow("a compressed cluster cannot be read");
  const short = frameOf(new Uint8Array(1000));
  expect(() => decompress("x", short, 64 * KIB, "zstd")).toThrow("has 1000 bytes instead of 65536");
});

test("spoiled frames are errors or other bytes, and the next good one is read", () => {
  const draw = random(11);
  const bytes = material(64 * KIB, 12);
  const good = compress(bytes, "zstd");
  if (good === undefined) throw new Error("nothing to spoil");
  for (let i = 0; i < 2000; i++) {
    const bad = Uint8Array.from(good);
    for (let flips = 1 + draw() * 3; flips > 0; flips--) {
      const reach = draw() < 0.5 ? 20 : bad.length;
      bad[Math.floor(draw() * reach)] ^= 1 << Math.floor(draw() * 8);
    }
    try {
      expect(decompress("x", bad, bytes.length, "zstd").length).toBe(bytes.length);
    } catch (error) {
      expect(error).toBeInstanceOf(ImageError);
    }
  }
  expect(Buffer.compare(decompress("x", good, bytes.length, "zstd"), bytes)).toBe(0);
});

test("Node's zstd, where it has one, and the one in WebAssembly read each other", () => {
  const engines = [zstd(), wasmZstd()];
  for (const from of engines) {
    for (const to of engines) {
      for (const length of [512, 64 * KIB, 2 * MIB]) {
        const bytes = material(length, length);
        const found = new Uint8Array(length);
        expect(to.decompress(from.compress(bytes), found)).toBe(length);
        expect(Buffer.compare(found, bytes)).toBe(0);
      }
    }
  }
});

test.each([
  ["cluster_size=512", 3 * MIB + 512],
  ["cluster_size=4k", 5 * MIB],
  ["cluster_size=64k,extended_l2=on", 5 * MIB],
  ["cluster_size=2M", 9 * MIB + 512],
])("disks with %s go both ways", (options, size) => {
  const bytes = material(size, size);
  const raw = join(folder, "disk.raw");
  writeFileSync(raw, bytes);
  const creation = `compression_type=zstd,${options}`;
  qemuImg(..."convert -c -f raw -O qcow2 -o".split(" "), creation, raw, join(folder, "theirs.qcow2"));
  using theirs = openQcow2(join(folder, "theirs.qcow2"), { readOnly: true });
  const found = new Uint8Array(size);
  readDisk(theirs, found, 0);
  expect(Buffer.compare(found, bytes)).toBe(0);

  const words = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", creation, "disk.raw", "ours.qcow2"];
  expect(ours(folder, words)).toMatchObject({ status: 0, stderr: "" });
  const path = join(folder, "ours.qcow2");
  expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0 });
  expect(Buffer.compare(qemuContents(path), bytes)).toBe(0);
  expect(JSON.parse(qemuImg("info", "--output=json", path))["format-specific"].data).toMatchObject({
    "compression-type": "zstd",
  });
  // As good as theirs, within what another version of zstd may make of it.
  const lengths = ["ours", "theirs"].map((name) => readFileSync(join(folder, `${name}.qcow2`)).length);
  expect(lengths[0]).toBeLessThan(lengths[1] * 1.05 + 4 * MIB);
});

test("an image of theirs is gone on with here, and the other way round", () => {
  const path = join(folder, "shared.qcow2");
  createQcow2(path, { size: 4 * MIB, compressionType: "zstd" });
  const model = new Uint8Array(4 * MIB);
  for (let round = 0; round < 6; round++) {
    const bytes = material(64 * KIB, 100 + round);
    const image = openQcow2(path);
    image.writeCompressed(bytes, (2 * round + 1) * 64 * KIB);
    model.set(bytes, (2 * round + 1) * 64 * KIB);
    // A part of a cluster that was compressed in the round before.
    const part = Math.max(0, 2 * round - 1) * 64 * KIB + 512;
    writeDisk(image, bytes.subarray(0, 512), part);
    model.set(bytes.subarray(0, 512), part);
    expect(checkQcow2(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    image.close();
    qemuIo(path, [`write -c -P ${round + 1} ${(20 + round) * 64}k 64k`]);
    model.fill(round + 1, (20 + round) * 64 * KIB, (21 + round) * 64 * KIB);
    expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0 });
    expect(Buffer.compare(qemuContents(path), model)).toBe(0);
    using again = openQcow2(path, { readOnly: true });
    const found = new Uint8Array(model.length);
    readDisk(again, found, 0);
    expect(Buffer.compare(found, model)).toBe(0);
  }
});

test("version 2 has no zstd, and says so as qemu-img does", () => {
  const words = ["create", "-f", "qcow2", "-o", "compat=0.10,compression_type=zstd", "old.qcow2", "1M"];
  const answer = ours(folder, words);
  expect(answer.status).toBe(1);
  expect(answer.stderr).toContain("Non-zlib compression type is only supported with compatibility level 1.1");
});
