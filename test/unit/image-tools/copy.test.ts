/** Copies and comparisons of random disks. A failure names its seed. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  checkQcow2,
  compareDisks,
  copyDisk,
  createImage,
  ImageError,
  openImage,
  Qcow2Image,
  readDisk,
  writeDisk,
} from "../../../src/block.ts";
import { qemuCheck, qemuContents } from "../../support/qemu-tools.ts";
import { random } from "../../support/random.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-copy-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Data, zeros that are stored, and holes, in pieces of no particular size. */
function randomRaw(path: string, draw: () => number): Buffer {
  const size = 512 * Math.floor(1 + draw() * 8000);
  createImage(path, { format: "raw", size });
  const bytes = Buffer.alloc(size);
  using disk = openImage(path, { format: "raw" });
  for (let pieces = Math.floor(draw() * 12); pieces > 0; pieces--) {
    const at = 512 * Math.floor((draw() * size) / 512);
    const length = Math.min(size - at, 512 * Math.floor(1 + draw() ** 3 * 2000));
    bytes.fill(draw() < 0.3 ? 0 : 1 + Math.floor(draw() * 255), at, at + length);
    writeDisk(disk, bytes.subarray(at, at + length), at);
  }
  return bytes;
}

test.each(Array.from({ length: 20 }, (_, seed) => seed))(
  "a disk is the same after copying: seed %d",
  (seed) => {
    const draw = random(seed);
    const raw = join(folder, `${seed}.raw`);
    const packed = join(folder, `${seed}.qcow2`);
    const bytes = randomRaw(raw, draw);
    const clusterSize = 2 ** (9 + Math.floor(draw() * 9));
    const compressed = draw() < 0.4;
    createImage(packed, { format: "qcow2", size: bytes.length, clusterSize });
    {
      using source = openImage(raw, { format: "raw", readOnly: true });
      using target = openImage(packed);
      copyDisk(source, target, { targetIsZero: true, compressed, sparse: draw() < 0.2 ? 0 : 4096 });
      expect(compareDisks(source, target)).toBeUndefined();
    }
    expect(qemuCheck(packed)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
    expect(Buffer.compare(qemuContents(packed), bytes)).toBe(0);
    // And back, over something else.
    const back = join(folder, `${seed}.back`);
    writeFileSync(back, Buffer.alloc(bytes.length, 0xaa));
    {
      using source = openImage(packed, { readOnly: true });
      using target = openImage(back, { format: "raw" });
      copyDisk(source, target);
    }
    expect(Buffer.compare(readFileSync(back), bytes)).toBe(0);
  },
);

test("the first sector that differs is found, and bytes beyond the end of the shorter disk", () => {
  const paths = ["x.raw", "y.raw"].map((name) => join(folder, name));
  for (const path of paths) createImage(path, { format: "raw", size: 2 ** 22 });
  using one = openImage(paths[0], { format: "raw" });
  using other = openImage(paths[1], { format: "raw" });
  writeDisk(one, Uint8Array.of(1), 3_000_000);
  expect(compareDisks(one, other)).toEqual({ kind: "content", offset: 3_000_000 - (3_000_000 % 512) });
  writeDisk(other, Uint8Array.of(1), 3_000_000);
  expect(compareDisks(one, other)).toBeUndefined();
  const long = join(folder, "long.raw");
  execFileSync("cp", ["--sparse=always", paths[0], long]);
  execFileSync("truncate", ["-s", "8M", long]);
  {
    using longer = openImage(long, { format: "raw" });
    expect(compareDisks(one, longer)).toBeUndefined();
    writeDisk(longer, Uint8Array.of(1), 5_000_000);
    expect(compareDisks(longer, one)).toMatchObject({ kind: "content" });
  }
});

test("a hole of a raw file stays a hole", () => {
  const [from, to] = ["holes.raw", "holes.copy"].map((name) => join(folder, name));
  createImage(from, { format: "raw", size: 2 ** 30 });
  createImage(to, { format: "raw", size: 2 ** 30 });
  using source = openImage(from, { format: "raw" });
  using target = openImage(to, { format: "raw" });
  writeDisk(source, new Uint8Array(65536).fill(1), 2 ** 29);
  copyDisk(source, target, { targetIsZero: true });
  expect(statSync(to).blocks * 512).toBeLessThan(2 ** 20);
  const found = new Uint8Array(65536);
  readDisk(target, found, 2 ** 29);
  expect(found.every((byte) => byte === 1)).toBe(true);
});

test("an image that somebody uses is not overwritten", () => {
  const path = join(folder, "used.qcow2");
  createImage(path, { format: "qcow2", size: 2 ** 20 });
  using image = openImage(path);
  expect(() => createImage(path, { format: "qcow2", size: 512 })).toThrow(ImageError);
  expect(() => createImage(path, { format: "raw", size: 512 })).toThrow(/another program is using it/);
  expect(image instanceof Qcow2Image && checkQcow2(image).corruptions).toBe(0);
});

test("a copy keeps to its rate, and holes cost nothing", () => {
  const size = 64 * 2 ** 20;
  const [from, to] = ["paced.raw", "paced.qcow2"].map((name) => join(folder, name));
  createImage(from, { format: "raw", size });
  createImage(to, { format: "qcow2", size });
  using source = openImage(from, { format: "raw" });
  const data = Buffer.alloc(4 * 2 ** 20, 7);
  writeDisk(source, data, 32 * 2 ** 20);
  using target = openImage(to, { format: "qcow2" });
  const start = performance.now();
  copyDisk(source, target, { rate: 16 * 2 ** 20 });
  // Never sooner: 4 MiB at 16 MiB/s. All 64 MiB would be 4 s.
  expect(performance.now() - start).toBeGreaterThanOrEqual(245);
  const copied = Buffer.alloc(data.length);
  readDisk(target, copied, 32 * 2 ** 20);
  expect(copied.equals(data)).toBe(true);
});
