/** The state of a machine inside an image, where QEMU has its own. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { ImageError } from "../../../../src/disk/image-error.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { createQcow2 } from "../../../../src/images/qcow2/create.ts";
import type { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { applyDisk, copyVmState } from "../../../../src/images/qcow2/load-vm-state.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { qemuCheck, qemuContents, qemuImg } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-vm-state-"));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;

function bytesOf(length: number, seed: number): Uint8Array {
  const next = random(seed);
  return Uint8Array.from({ length }, () => next() * 256);
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function stateFile(bytes: Uint8Array): string {
  const path = join(folder, `${made++}.state`);
  writeFileSync(path, bytes);
  return path;
}

function change<T>(path: string, use: (image: Qcow2Image) => T): T {
  using image = openQcow2(path);
  return use(image);
}

function stateIn(path: string, name: string): Uint8Array {
  using image = openQcow2(path, { readOnly: true, snapshot: name });
  const copy = join(folder, `${made++}.copy`);
  copyVmState(image, name, copy);
  return readFileSync(copy);
}

/** QEMU and this project agree that nothing is wrong or leaked. */
function expectClean(path: string): void {
  expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  using image = openQcow2(path, { readOnly: true });
  expect(checkQcow2(image)).toMatchObject({ corruptions: 0, leaks: 0 });
}

test.each([
  { size: 8 * MIB, clusterSize: 65536 },
  { size: 3 * MIB + 512, clusterSize: 512 }, // many L2 tables, and a disk that ends within one
  { size: 8 * MIB, clusterSize: 65536, extendedL2: true },
])(
  "disk and state of $size bytes in clusters of $clusterSize are saved, and QEMU leaves both whole",
  (format) => {
    const path = join(folder, `${made++}.qcow2`);
    createQcow2(path, format);
    const [first, second] = [bytesOf(MIB, 1), bytesOf(MIB, 2)];
    const states = [bytesOf(3 * MIB + 777, 3), bytesOf(100, 4)];
    change(path, (image) => {
      writeDisk(image, first, 0);
      image.snapshots.create("one", { path: stateFile(states[0]), clockNs: 61_500_000_000 });
      writeDisk(image, second, 0);
      image.snapshots.create("two", { path: stateFile(states[1]), clockNs: 62e9 });
      writeDisk(image, first, MIB);
    });
    expectClean(path);
    expect(qemuImg("snapshot", "-l", path)).toMatch(/1 +one +3 MiB .* 00:01:01\.500[\s\S]*2 +two +100 B/);
    expect(isSame(stateIn(path, "one"), states[0])).toBe(true);
    expect(isSame(stateIn(path, "two"), states[1])).toBe(true);
    expect(isSame(qemuContents(path).subarray(MIB, 2 * MIB), first)).toBe(true);

    // Whatever QEMU's own tool does with it, the state of the first stays.
    const converted = join(folder, `${made++}.raw`);
    qemuImg("convert", "-l", "one", "-O", "raw", path, converted);
    expect(isSame(readFileSync(converted).subarray(0, MIB), first)).toBe(true);
    qemuImg("snapshot", "-a", "one", path);
    expectClean(path);
    qemuImg("snapshot", "-c", "of-qemu", path);
    qemuImg("snapshot", "-d", "two", path);
    expectClean(path);
    expect(isSame(stateIn(path, "one"), states[0])).toBe(true);

    change(path, (image) => {
      applyDisk(image, "one");
      const bytes = new Uint8Array(MIB);
      readDisk(image, bytes, 0);
      expect(isSame(bytes, first)).toBe(true);
      image.snapshots.create("three", { path: stateFile(states[1]), clockNs: 0 });
      image.snapshots.delete("one");
    });
    expectClean(path);
    expect(isSame(stateIn(path, "three"), states[1])).toBe(true);
    qemuImg("snapshot", "-d", "three", path);
    expectClean(path);
  },
);

test("a snapshot of a disk alone, and one that is not there, have no state", () => {
  const path = join(folder, `${made++}.qcow2`);
  createQcow2(path, { size: MIB });
  change(path, (image) => image.snapshots.create("disk"));
  expect(() => stateIn(path, "disk")).toThrow(/"disk" has a disk alone, and not a machine/);
  expect(() => stateIn(path, "none")).toThrow(ImageError);
});

test("a name that is taken leaves the image as it was", () => {
  const path = join(folder, `${made++}.qcow2`);
  createQcow2(path, { size: MIB });
  const state = { path: stateFile(bytesOf(MIB, 5)), clockNs: 0 };
  change(path, (image) => {
    image.snapshots.create("one", state);
    expect(() => image.snapshots.create("one", state)).toThrow(/there is a snapshot "one" already/);
  });
  expectClean(path);
});
