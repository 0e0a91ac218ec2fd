/** The seed of cloud-init: real tools find its label and its files. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cloudInitDisk } from "../../../src/disk/cloud-init-disk.ts";
import { isoImage } from "../../../src/disk/iso9660.ts";

function image(files: Parameters<typeof cloudInitDisk>[0]): Uint8Array {
  const { size, read } = cloudInitDisk(files);
  const bytes = new Uint8Array(size);
  void read(0, [bytes.subarray(0, 512), bytes.subarray(512)]);
  return bytes;
}

const hasBlkid = spawnSync("blkid", ["-V"]).status === 0;

test.skipIf(!hasBlkid)("blkid sees ISO 9660 with Joliet, labelled cidata", () => {
  const folder = mkdtempSync(join(tmpdir(), "seed-"));
  try {
    const path = join(folder, "seed.iso");
    writeFileSync(path, image({ userData: "#!/bin/sh\necho seeded\n" }));
    const { stdout } = spawnSync("blkid", ["-p", "-o", "export", path], { encoding: "utf8" });
    expect(stdout.split("\n")).toEqual(expect.arrayContaining(["LABEL=cidata", "TYPE=iso9660"]));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the files are where their records say, by both kinds of names", () => {
  const bytes = Buffer.from(image({ userData: "user", metaData: "meta", networkConfig: "net" }));
  const found = (root: number, decode: (record: Buffer) => string) => {
    const names = new Map<string, string>();
    for (let at = root * 2048; bytes[at] !== 0; at += bytes[at]) {
      const record = bytes.subarray(at, at + bytes[at]);
      if ((record[25] & 2) !== 0) continue;
      const start = record.readUInt32LE(2) * 2048;
      names.set(decode(record), bytes.subarray(start, start + record.readUInt32LE(10)).toString());
    }
    return Object.fromEntries(names);
  };
  const expected = { "meta-data": "meta", "user-data": "user", "network-config": "net" };
  const rockRidge = (record: Buffer) => {
    const at = record.indexOf("NM");
    return record.toString("utf8", at + 5, at + record[at + 2]);
  };
  const joliet = (record: Buffer) =>
    Buffer.from(record.subarray(33, 33 + record[32]))
      .swap16()
      .toString("utf16le")
      .replace(";1", "");
  expect(found(23, rockRidge)).toEqual(expected);
  expect(found(24, joliet)).toEqual(expected);
});

test("too many files are refused", () => {
  const files = new Map(Array.from({ length: 40 }, (_, n) => [`file-${n}`, new Uint8Array(1)] as const));
  expect(() => isoImage("x", files)).toThrow("too many files");
});
