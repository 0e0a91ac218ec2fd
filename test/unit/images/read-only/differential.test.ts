/**
 * Random sparse disks in every kind of image that is only read: QEMU makes them,
 * and both tools have to say the same of them. A failure names its seed.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readDisk } from "../../../../src/disk/image.ts";
import { openImage } from "../../../../src/images/open-image.ts";
import { KINDS, makeForeign } from "../../../support/foreign-images.ts";
import { ours, theirs } from "../../../support/img-pair.ts";
import { sameForm } from "../../../support/old-qemu.ts";
import { qemuContents, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

/** Disks in an ordinary run; VMEXIT_FOREIGN_SEEDS=FIRST-LAST tries others. */
const [FIRST, LAST] = (process.env.VMEXIT_FOREIGN_SEEDS ?? "1-3").split("-").map(Number);
const SEEDS = Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i);

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-foreign-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A disk of some MiB, mostly holes, with data that compresses and data that does not. Made once. */
function makeDisk(seed: number): string {
  const path = join(folder, `${seed}.raw`);
  if (existsSync(path)) return path;
  const draw = random(seed);
  const int = (most: number) => Math.floor(draw() * most);
  const size = seed === 1 ? 512 : 512 * (1 + int((40 * MIB) / 512));
  qemuImg("create", "-q", "-f", "raw", path, String(size));
  const commands = Array.from({ length: 1 + int(12) }, () => {
    const at = 512 * int(size / 512);
    const length = Math.min(size - at, 512 * (1 + int(draw() < 0.7 ? 300 : 8000)));
    return `write -P ${1 + int(255)} ${at} ${length}`;
  });
  qemuIo(path, commands, "raw");
  const bytes = readFileSync(path);
  for (let at = int(size); at < Math.min(size, 200_000); at++) bytes[at] = int(256);
  // Only where there is data: the holes stay.
  qemuIo(path, [`write -s ${noise(bytes)} 0 ${Math.min(size, 65536)}`], "raw");
  return path;
}

function noise(bytes: Buffer): string {
  const path = join(folder, "noise");
  writeFileSync(path, bytes.subarray(0, 65536));
  return path;
}

const LINES = [
  "info FORMAT IMAGE",
  "info --output=json FORMAT IMAGE",
  "check FORMAT IMAGE",
  "check --output=json FORMAT IMAGE",
  "check -r all FORMAT IMAGE",
  "compare FORMAT IMAGE RAW",
  "compare FORMAT -s IMAGE RAW",
  "snapshot -l IMAGE",
];
/** QEMU does not know where the parts of a VHDX disk are. */
const MAP_LINES = [
  "map FORMAT IMAGE",
  "map --output=json FORMAT IMAGE",
  "map --output=json -s 70k -l 3M FORMAT IMAGE",
];

describe.each(SEEDS)("seed %i", (seed) => {
  test.each(KINDS)("$format $name: the disk is what QEMU reads", (kind) => {
    const image = makeForeign(makeDisk(seed), kind);
    const expected = qemuContents(image, kind.format);
    using opened = openImage(image, { format: kind.format, readOnly: true });
    expect(opened.size).toBe(expected.length);
    const found = new Uint8Array(opened.size);
    readDisk(opened, found, 0);
    expect(Buffer.compare(found, expected)).toBe(0);
    const draw = random(seed);
    for (let i = 0; i < 50; i++) {
      const at = Math.floor(draw() * found.length);
      const part = new Uint8Array(Math.min(found.length - at, Math.floor(draw() * 200_000)));
      readDisk(opened, part, at);
      expect(Buffer.compare(part, expected.subarray(at, at + part.length))).toBe(0);
    }
    for (const target of ["raw", "qcow2"]) {
      const args = ["convert", "-f", kind.format, "-O", target, image, `${image}.${target}`];
      expect(ours(folder, args)).toEqual({ stdout: "", stderr: "", status: 0 });
      expect(Buffer.compare(qemuContents(`${image}.${target}`, target), expected)).toBe(0);
    }
  });

  test.each(KINDS)("$format $name: both tools say the same of it", (kind) => {
    const raw = makeDisk(seed);
    const image = makeForeign(raw, kind);
    for (const line of [...LINES, ...(kind.format === "vhdx" ? [] : MAP_LINES)]) {
      // A fixed VHD disk begins like its guest's disk: only a format option can identify it.
      const args = line.replace("FORMAT", kind.name === "fixed" ? `-f ${kind.format}` : "").split(/\s+/);
      const words = args.map((word) => (word === "IMAGE" ? image : word === "RAW" ? raw : word));
      if (kind.format === "vhdx" && line.includes("-s IMAGE")) continue;
      const expected = sameForm(words, theirs(folder, words));
      const found = sameForm(words, ours(folder, words));
      if (line.includes("info --output=json") || line.includes("check --output=json")) {
        expect({ ...found, stdout: parsed(found.stdout) }, line).toEqual({
          ...expected,
          stdout: parsed(expected.stdout),
        });
      } else {
        expect(found, line).toEqual(expected);
      }
    }
  });
});

function parsed(text: string): unknown {
  return text === "" ? "" : JSON.parse(text);
}

test.each(KINDS)("a qcow2 image depends on $format $name", (kind) => {
  const below = makeForeign(makeDisk(2), kind);
  const over = `${below}.over.qcow2`;
  const create = ["create", "-q", "-f", "qcow2", "-b", below, "-F", kind.format, over];
  expect(ours(folder, create)).toEqual({ stdout: "", stderr: "", status: 0 });
  qemuIo(over, ["write -P 77 66k 3k"]);
  const expected = qemuContents(over);
  using image = openImage(over, { readOnly: true });
  const found = new Uint8Array(image.size);
  readDisk(image, found, 0);
  expect(Buffer.compare(found, expected)).toBe(0);
});
