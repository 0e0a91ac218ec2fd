/** Persistent dirty bitmaps: kept up to date by everything that changes a disk, as QEMU reads them afterwards. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { readDisk, writeDisk } from "../../../../src/disk/image.ts";
import { ImageError } from "../../../../src/disk/image-error.ts";
import { copyDisk } from "../../../../src/image-tools/copy.ts";
import {
  bitmapsOf,
  changeBitmap,
  copyBitmaps,
  removeAllBitmaps,
} from "../../../../src/images/qcow2/change-bitmaps.ts";
import { checkQcow2 } from "../../../../src/images/qcow2/check.ts";
import { createQcow2 } from "../../../../src/images/qcow2/create.ts";
import { DirtyBits } from "../../../../src/images/qcow2/dirty-bits.ts";
import type { Qcow2Image } from "../../../../src/images/qcow2/image.ts";
import { openQcow2 } from "../../../../src/images/qcow2/open.ts";
import { resizeQcow2 } from "../../../../src/images/qcow2/resize.ts";
import { applySnapshot, createSnapshot, deleteSnapshot } from "../../../../src/images/qcow2/snapshots.ts";
import { qemuCheck, qemuImg, qemuIo } from "../../../support/qemu-tools.ts";
import { random } from "../../../support/random.ts";

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "vmexit-bitmaps-"));
const servers: ChildProcess[] = [];
afterAll(() => {
  for (const server of servers) server.kill();
  rmSync(folder, { recursive: true });
});
let made = 0;

function fresh(size = 8 * MIB, clusterSize = 65536): string {
  const path = join(folder, `${made++}.qcow2`);
  createQcow2(path, { size, clusterSize });
  return path;
}

function change(path: string, use: (image: Qcow2Image) => void): void {
  using image = openQcow2(path);
  use(image);
}

/** The dirty ranges of a bitmap as QEMU gives them to NBD clients: start and end, in bytes. */
async function dirtyOf(path: string, name: string): Promise<[number, number][]> {
  const socket = join(folder, `${made++}.sock`);
  const server = spawn("qemu-nbd", ["-r", "-f", "qcow2", "-B", name, "-k", socket, path], {
    stdio: "ignore",
  });
  servers.push(server);
  const ended = once(server, "exit");
  for (let tries = 0; !existsSync(socket) && tries < 200; tries++) await sleep(20);
  const uri = `nbd+unix:///?socket=${socket}`;
  const args = ["--json", `--map=qemu:dirty-bitmap:${name}`, uri];
  const map: { offset: number; length: number; type: number }[] = JSON.parse(
    execFileSync("nbdinfo", args, { encoding: "utf8" }),
  );
  // It ends with its client, and locks the image until then.
  await ended;
  const ranges: [number, number][] = [];
  for (const { offset, length, type } of map) {
    if (type === 0) continue;
    const last = ranges.at(-1);
    if (last?.[1] === offset) last[1] += length;
    else ranges.push([offset, offset + length]);
  }
  return ranges;
}

function expectWhole(path: string): void {
  expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
}

const flagsOf = (path: string) =>
  JSON.parse(qemuImg("info", "--output=json", path))["format-specific"].data.bitmaps ?? [];

describe("a bitmap that QEMU made", () => {
  test("records writes, zeros, discards and compressed clusters, and nothing else", async () => {
    const path = fresh();
    qemuImg("bitmap", "--add", "-g", "4096", path, "b");
    change(path, (image) => {
      writeDisk(image, new Uint8Array(10).fill(1), 5000);
      writeDisk(image, new Uint8Array(70_000).fill(2), MIB - 100);
      image.writeZeroes(3 * MIB, 65536, true);
      image.discard(4 * MIB, 131072);
      image.writeCompressed(new Uint8Array(65536), 6 * MIB);
    });
    expect(await dirtyOf(path, "b")).toEqual([
      [4096, 8192],
      [MIB - 4096, MIB + 73728],
      [3 * MIB, 3 * MIB + 65536],
      [4 * MIB, 4 * MIB + 131072],
      [6 * MIB, 6 * MIB + 65536],
    ]);
    expectWhole(path);
  });

  test("keeps what was dirty before, and QEMU goes on with it", async () => {
    const path = fresh();
    qemuImg("bitmap", "--add", path, "b");
    qemuIo(path, ["write 1M 64k"]);
    change(path, (image) => writeDisk(image, new Uint8Array(512), 0));
    qemuIo(path, ["write 7M 64k"]);
    change(path, (image) => writeDisk(image, new Uint8Array(512), 3 * MIB));
    expect(await dirtyOf(path, "b")).toEqual([0, 1, 3, 7].map((mib) => [mib * MIB, mib * MIB + 65536]));
    expectWhole(path);
  });

  test("that is disabled does not record, and stays valid", async () => {
    const path = fresh();
    qemuImg("bitmap", "--add", path, "off");
    qemuIo(path, ["write 1M 64k"]);
    qemuImg("bitmap", "--disable", path, "off");
    change(path, (image) => writeDisk(image, new Uint8Array(512), 3 * MIB));
    expect(await dirtyOf(path, "off")).toEqual([[MIB, MIB + 65536]]);
    expect(flagsOf(path)).toEqual([{ flags: [], name: "off", granularity: 65536 }]);
  });

  test("is not touched by an image that is only read, nor by one that is opened and not written", () => {
    const path = fresh();
    qemuImg("bitmap", "--add", path, "b");
    openQcow2(path, { readOnly: true }).close();
    openQcow2(path).close();
    expect(flagsOf(path)).toEqual([{ flags: ["auto"], name: "b", granularity: 65536 }]);
  });

  test("is inconsistent after a stop, for everybody, and says so", () => {
    const path = fresh();
    qemuImg("bitmap", "--add", path, "b");
    const stopped = join(folder, "stopped.qcow2");
    change(path, (image) => {
      writeDisk(image, new Uint8Array(512), 0);
      copyFileSync(path, stopped);
    });
    expect(flagsOf(stopped)).toEqual([{ flags: ["in-use", "auto"], name: "b", granularity: 65536 }]);
    expect(qemuCheck(stopped)).toMatchObject({ corruptions: 0, errors: 0 });
    expect(() => change(stopped, (image) => changeBitmap(image, "b", [{ kind: "clear" }]))).toThrow(
      "Bitmap 'b' is inconsistent and cannot be used",
    );
    change(stopped, (image) => changeBitmap(image, "b", [{ kind: "remove" }]));
    expect(flagsOf(stopped)).toEqual([]);
    expect(checkWhole(stopped)).toBe(0);
  });

  test("whose directory is not valid is dropped, and the disk can be written", () => {
    const path = fresh();
    qemuImg("bitmap", "--add", path, "b");
    change(path, (image) => {
      const offset = Buffer.from(image.header.bitmaps ?? []).readBigUInt64BE(16);
      image.file.write(new Uint8Array(24).fill(0xff), Number(offset));
    });
    change(path, (image) => writeDisk(image, new Uint8Array(512), 0));
    expect(flagsOf(path)).toEqual([]);
  });
});

function checkWhole(path: string): number {
  using image = openQcow2(path);
  const { corruptions } = checkQcow2(image);
  return corruptions;
}

describe("sizes and snapshots", () => {
  test("a bitmap grows and shrinks with the disk, also one that is disabled", async () => {
    const path = fresh(8 * MIB, 512);
    qemuImg("bitmap", "--add", "-g", "512", path, "b");
    qemuImg("bitmap", "--add", "-g", "4096", path, "off");
    qemuIo(path, ["write 1M 64k", "write 7M 64k"]);
    qemuImg("bitmap", "--disable", path, "off");
    change(path, (image) => {
      resizeQcow2(image, 32 * MIB);
      writeDisk(image, new Uint8Array(512), 31 * MIB);
    });
    expectWhole(path);
    expect(await dirtyOf(path, "b")).toEqual([
      [MIB, MIB + 65536],
      [7 * MIB, 7 * MIB + 65536],
      [31 * MIB, 31 * MIB + 512],
    ]);
    change(path, (image) => resizeQcow2(image, 4 * MIB));
    expectWhole(path);
    for (const name of ["b", "off"]) expect(await dirtyOf(path, name)).toEqual([[MIB, MIB + 65536]]);
    qemuIo(path, ["write 2M 512"]);
    expect((await dirtyOf(path, "b")).length).toBe(2);
  });

  test("taking and deleting snapshots leaves it alone; a disk that went back is dirty all over", async () => {
    const path = fresh();
    qemuImg("bitmap", "--add", path, "b");
    qemuImg("bitmap", "--add", path, "off");
    qemuImg("bitmap", "--disable", path, "off");
    change(path, (image) => {
      writeDisk(image, new Uint8Array(512).fill(1), MIB);
      createSnapshot(image, "one");
      writeDisk(image, new Uint8Array(512).fill(2), 2 * MIB);
      createSnapshot(image, "two");
      deleteSnapshot(image, "two");
    });
    expect(await dirtyOf(path, "b")).toEqual([
      [MIB, MIB + 65536],
      [2 * MIB, 2 * MIB + 65536],
    ]);
    change(path, (image) => applySnapshot(image, "one"));
    expect(await dirtyOf(path, "b")).toEqual([[0, 8 * MIB]]);
    expect(await dirtyOf(path, "off")).toEqual([]);
    expectWhole(path);
  });
});

describe("changes", () => {
  test("add, clear, disable, enable, merge and remove are what QEMU sees", async () => {
    const path = fresh();
    change(path, (image) => {
      changeBitmap(image, "one", [{ kind: "add", granularity: 4096 }]);
      changeBitmap(image, "two", [{ kind: "add" }, { kind: "disable" }]);
      writeDisk(image, new Uint8Array(512), 5 * MIB + 9000);
    });
    expect(flagsOf(path)).toEqual([
      { flags: ["auto"], name: "one", granularity: 4096 },
      { flags: [], name: "two", granularity: 65536 },
    ]);
    expect(await dirtyOf(path, "one")).toEqual([[5 * MIB + 8192, 5 * MIB + 12288]]);
    change(path, (image) => changeBitmap(image, "two", [{ kind: "merge", from: "one" }, { kind: "enable" }]));
    expect(await dirtyOf(path, "two")).toEqual([[5 * MIB, 5 * MIB + 65536]]);
    qemuImg("bitmap", "--merge", "two", path, "one");
    change(path, (image) => {
      changeBitmap(image, "two", [{ kind: "clear" }]);
      changeBitmap(image, "one", [{ kind: "disable" }]);
    });
    expect(await dirtyOf(path, "two")).toEqual([]);
    expect(await dirtyOf(path, "one")).toEqual([[5 * MIB, 5 * MIB + 65536]]);
    expectWhole(path);
    change(path, (image) => changeBitmap(image, "one", [{ kind: "remove" }]));
    expectWhole(path);
    change(path, (image) => removeAllBitmaps(image));
    expect(flagsOf(path)).toEqual([]);
    expectWhole(path);
  });

  test("what cannot be is refused, and changes nothing", () => {
    const path = fresh();
    change(path, (image) => changeBitmap(image, "b", [{ kind: "add" }]));
    const changing = (kind: "add" | "clear" | "remove", name: string) => () =>
      change(path, (image) => changeBitmap(image, name, [{ kind }]));
    expect(changing("add", "b")).toThrow("Bitmap already exists: b");
    expect(changing("clear", "c")).toThrow("Dirty bitmap 'c' not found");
    expect(changing("remove", "c")).toThrow("Dirty bitmap 'c' not found");
    for (const granularity of [3, 256, 2 ** 32]) {
      const add = () => change(path, (image) => changeBitmap(image, "x", [{ kind: "add", granularity }]));
      expect(add).toThrow("Granularity must be power of 2 and at least 512");
    }
    expect(flagsOf(path)).toEqual([{ flags: ["auto"], name: "b", granularity: 65536 }]);
    expectWhole(path);
    const old = join(folder, "v2.qcow2");
    createQcow2(old, { size: MIB, version: 2 });
    expect(() => change(old, (image) => changeBitmap(image, "b", [{ kind: "add" }]))).toThrow(
      "Cannot store dirty bitmaps in qcow2 v2 files",
    );
  });

  test("bitmaps are copied into another image of the same disk", async () => {
    const path = fresh();
    change(path, (image) => {
      changeBitmap(image, "one", [{ kind: "add", granularity: 4096 }]);
      changeBitmap(image, "two", [{ kind: "add" }, { kind: "disable" }]);
      writeDisk(image, new Uint8Array(512).fill(1), MIB);
    });
    const copy = fresh();
    {
      using source = openQcow2(path, { readOnly: true });
      using target = openQcow2(copy);
      copyDisk(source, target, {});
      copyBitmaps(source, target, ["one", "two"]);
    }
    expect(flagsOf(copy)).toEqual(flagsOf(path));
    expect(await dirtyOf(copy, "one")).toEqual([[MIB, MIB + 4096]]);
    expectWhole(copy);
    using image = openQcow2(copy, { readOnly: true });
    expect(bitmapsOf(image).map(({ name }) => name)).toEqual(["one", "two"]);
  });

  test("many bitmaps and small clusters: the directory and tables take several clusters", async () => {
    const path = fresh(64 * MIB, 512);
    change(path, (image) => {
      for (let i = 0; i < 30; i++)
        changeBitmap(image, `bitmap number ${i}`, [{ kind: "add", granularity: 512 }]);
      writeDisk(image, new Uint8Array(100_000).fill(1), 12_345_344);
    });
    expectWhole(path);
    expect(await dirtyOf(path, "bitmap number 29")).toEqual([[12_345_344, 12_445_696]]);
  });
});

test("after any sequence of changes QEMU finds what a model says", async () => {
  const next = random(11);
  const below = (n: number) => Math.floor(next() * n);
  const path = fresh(4 * MIB, 4096);
  const granularity = 8192;
  change(path, (image) => changeBitmap(image, "b", [{ kind: "add", granularity }]));
  const model = new DirtyBits(4 * MIB, granularity);
  for (let round = 0; round < 6; round++) {
    change(path, (image) => {
      for (let step = 0; step < 40; step++) {
        const offset = 512 * below(image.size / 512);
        const length = Math.min(image.size - offset, 512 * (1 + below(200)));
        const kind = below(10);
        if (kind === 0) {
          const size = MIB * (2 + below(8));
          resizeQcow2(image, size);
          model.resize(size);
          continue;
        }
        if (kind < 6) writeDisk(image, new Uint8Array(length).fill(step), offset);
        else if (kind < 8) image.writeZeroes(offset, length, kind === 6);
        else image.discard(offset, length);
        model.mark(offset, length);
      }
    });
    const ranges: [number, number][] = [];
    using image = openQcow2(path, { readOnly: true });
    for (let bit = 0; bit * granularity < image.size; bit++) {
      if ((model.bytes[bit >> 3] & (1 << (bit & 7))) === 0) continue;
      const [from, to] = [bit * granularity, Math.min(image.size, (bit + 1) * granularity)];
      const last = ranges.at(-1);
      if (last?.[1] === from) last[1] = to;
      else ranges.push([from, to]);
    }
    image.close();
    expect(await dirtyOf(path, "b")).toEqual(ranges);
    expectWhole(path);
  }
}, 60_000);

test("a bitmap whose name is not UTF-8 keeps its bytes", () => {
  const path = fresh();
  change(path, (image) => changeBitmap(image, "b\udcf6", [{ kind: "add" }]));
  change(path, (image) => changeBitmap(image, "c", [{ kind: "add" }]));
  const shown = execFileSync("qemu-img", ["info", path], { encoding: "latin1" });
  expect(shown).toContain("name: b\xf6\n");
});

describe("a stranger's bitmaps", () => {
  /** An image with bitmaps in it, of which bytes are changed: of the directory, a table or the extension. */
  function spoiled(spoil: (bytes: Buffer, directory: number, table: number) => void): string {
    const path = fresh(8 * MIB, 4096);
    change(path, (image) => {
      changeBitmap(image, "b", [{ kind: "add", granularity: 512 }]);
      changeBitmap(image, "off", [{ kind: "add" }, { kind: "disable" }]);
      writeDisk(image, new Uint8Array(MIB).fill(1), MIB);
    });
    const bytes = readFileSync(path);
    const extension = bytes.indexOf(Buffer.from("23852875", "hex")) + 8;
    const directory = Number(bytes.readBigUInt64BE(extension + 16));
    spoil(bytes, directory, Number(bytes.readBigUInt64BE(directory)));
    writeFileSync(path, bytes);
    return path;
  }

  test.each<[string, Parameters<typeof spoiled>[0]]>([
    ["bits where the header is", (bytes, _, table) => void bytes.writeBigUInt64BE(0n + 512n, table)],
    ["bits where the L1 table is", (bytes, _, table) => void bytes.copy(bytes, table, 40, 48)],
    ["bits where the refcount table is", (bytes, _, table) => void bytes.copy(bytes, table, 48, 56)],
    ["bits beyond the end of the file", (bytes, _, table) => void bytes.writeBigUInt64BE(2n ** 50n, table)],
    ["a table where the L1 table is", (bytes, directory) => void bytes.copy(bytes, directory, 40, 48)],
    ["a table that is too long", (bytes, directory) => void bytes.writeUInt32BE(3, directory + 8)],
    ["a kind that is not known", (bytes, directory) => void bytes.writeUInt8(9, directory + 16)],
    [
      "a name longer than the directory",
      (bytes, directory) => void bytes.writeUInt16BE(9999, directory + 18),
    ],
  ])("%s: the disk is written, and nothing else is damaged", (_, spoil) => {
    const path = spoiled(spoil);
    change(path, (image) => writeDisk(image, new Uint8Array(4096).fill(7), 4096));
    using image = openQcow2(path, { readOnly: true });
    const bytes = new Uint8Array(4096);
    readDisk(image, bytes, 4096);
    expect(bytes.every((byte) => byte === 7)).toBe(true);
    const found = bitmapsOf(image).find(({ name }) => name === "b");
    expect(found === undefined || found.inUse).toBe(true);
  });

  test("one that would take all memory is inconsistent, and not loaded", () => {
    const path = fresh(2 ** 46, 2 * MIB);
    change(path, (image) => changeBitmap(image, "b", [{ kind: "add", granularity: 2 ** 20 }]));
    const bytes = readFileSync(path);
    const at = bytes.indexOf(Buffer.from([0, 0, 0, 2, 1, 20, 0, 1])); // flags, type, granularity, name's length
    bytes.writeUInt8(9, at + 5);
    bytes.writeUInt32BE(2 ** 46 / 512 / 8 / (2 * MIB), at - 4);
    writeFileSync(path, bytes);
    change(path, (image) => writeDisk(image, new Uint8Array(512), 0));
    using image = openQcow2(path, { readOnly: true });
    expect(bitmapsOf(image)).toMatchObject([{ name: "b", inUse: true }]);
  });

  test("any byte of directory and table: an ImageError or none, and the disk is whole", {
    timeout: 60_000,
  }, () => {
    const next = random(5);
    for (let round = 0; round < 60; round++) {
      const path = spoiled((bytes, directory, table) => {
        for (let i = 0; i < 3; i++) {
          const [start, length] = next() < 0.6 ? [directory, 64] : [table, 32];
          bytes[start + Math.floor(next() * length)] = Math.floor(next() * 256);
        }
      });
      try {
        change(path, (image) => {
          writeDisk(image, new Uint8Array(4096).fill(7), 4096);
          resizeQcow2(image, 9 * MIB);
        });
      } catch (error) {
        expect(error).toBeInstanceOf(ImageError);
      }
      using image = openQcow2(path, { readOnly: true });
      const found = new Uint8Array(MIB);
      readDisk(image, found, MIB);
      expect(found.every((byte) => byte === 1)).toBe(true);
    }
  });
});
