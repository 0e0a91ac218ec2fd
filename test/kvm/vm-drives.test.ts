/**
 * A drive while a guest uses it: requests that the host fails and a machine that
 * waits for better times, another size, snapshots inside the image and over it.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { readBitmapDirectory } from "../../dist/images/qcow2/bitmap-directory.js";
import { createQcow2 } from "../../dist/images/qcow2/create.js";
import { readBits } from "../../dist/images/qcow2/dirty-bitmaps.js";
import { openQcow2 } from "../../dist/images/qcow2/open.js";
import { patience } from "../../lab/patience.mjs";
import { BlkGuest, done, full, MOST_BLOCKS } from "../support/blk-guest.ts";
import { hostSays, MemorySource, never } from "../support/memory-source.ts";
import { qemuCheck, qemuContents, qemuImg } from "../support/qemu-tools.ts";

const MIB = 2 ** 20;
const BLOCK = 4096;
const SECTORS = BLOCK / 512;
/** What a machine may take to end whose disk never answers, on a slow host. */
const PROMPT_MS = 3_000;

const folder = mkdtempSync(join(tmpdir(), "vmexit-drives-"));
afterAll(() => rmSync(folder, { recursive: true }));

function rawImage(name: string, bytes: Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  return file;
}

function qcow2Image(name: string, size: number): string {
  const file = join(folder, name);
  createQcow2(file, { size });
  return file;
}

function hash(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** The disk is full of one byte from `offset` on. */
function isFull(disk: Uint8Array, offset: number, length: number, byte: number): boolean {
  return Buffer.alloc(length, byte).equals(disk.subarray(offset, offset + length));
}

test.each(["stop", "enospc"] as const)(
  "werror=%s: a host without room pauses the machine, and each resume tries what is missing again",
  async (werror) => {
    const source = new MemorySource(MIB);
    let room = 5 * BLOCK;
    source.before.write = (_, bytes) => {
      if (bytes > room) throw hostSays("ENOSPC");
      room -= bytes;
    };
    await using guest = await BlkGuest.start({ source, werror });
    let paused = guest.paused();
    const answer = guest.write(8, MOST_BLOCKS, 0x61);
    for (const more of [0, 4 * BLOCK, MIB]) {
      await paused;
      expect(guest.vm.state).toBe("paused");
      room += more;
      paused = guest.paused();
      await guest.vm.resume();
    }
    expect(await answer).toBe(done(MOST_BLOCKS));
    expect(await guest.read(8, MOST_BLOCKS)).toBe(full(MOST_BLOCKS, 0x61));
    expect(isFull(source.bytes, BLOCK, MOST_BLOCKS * BLOCK, 0x61)).toBe(true);
    const reports = guest.errors.filter(({ code }) => code === "ESTOP");
    expect(reports).toHaveLength(3);
    expect(reports[0]).toMatchObject({
      device: "virtio-blk0",
      message: expect.stringMatching(/writing 4096 bytes at \d+ failed: ENOSPC.*The machine pauses/s),
    });
    // The guest saw none of it.
    expect(guest.vm.stats().drives[0]).toMatchObject({ errors: 0, bytesWritten: MOST_BLOCKS * BLOCK });
  },
);

test("werror=enospc and report: the guest sees other errors; ignore: it sees success", async () => {
  for (const [werror, status] of [
    ["enospc", "1"],
    ["report", "1"],
    ["ignore", "0"],
  ] as const) {
    const source = new MemorySource(MIB);
    source.before.write = (offset) => {
      if (offset === 0) throw hostSays("EIO");
    };
    await using guest = await BlkGuest.start({ source, werror });
    expect([werror, await guest.write(0, 2, 0x61)]).toEqual([werror, `${status} 0`]);
    expect(guest.vm.state).toBe("running");
    expect(isFull(source.bytes, 0, BLOCK, 0)).toBe(true);
    expect(isFull(source.bytes, BLOCK, BLOCK, 0x61)).toBe(true);
  }
});

test("rerror=stop: what cannot be read pauses the machine, and is read when it can", async () => {
  const source = new MemorySource(MIB);
  source.bytes.fill(0x72);
  let fails = true;
  source.before.read = () => {
    if (fails) throw hostSays("EIO");
  };
  await using guest = await BlkGuest.start({ source, rerror: "stop" });
  const paused = guest.paused();
  const answer = guest.read(0, MOST_BLOCKS);
  await paused;
  fails = false;
  await guest.vm.resume();
  expect(await answer).toBe(full(MOST_BLOCKS, 0x72));
});

test("a machine that waits for its disk can be reset, and stopped", async () => {
  const source = new MemorySource(MIB);
  source.before.write = () => {
    throw hostSays("ENOSPC");
  };
  await using guest = await BlkGuest.start({ source, werror: "stop" });
  for (const _ of [1, 2]) {
    const paused = guest.paused();
    guest.begin("w 0 3 61");
    await paused;
    const ready = guest.ready();
    await guest.vm.reset();
    await ready;
  }
  const paused = guest.paused();
  guest.begin("w 0 3 61");
  await paused;
  await guest.vm.stop();
  expect(await guest.vm.exited).toEqual({ reason: "stopped" });
  expect(source.closed).toBe(true);
});

test.each(["", "after a pause", "after a reset"])(
  "stop() ends a machine whose disk never answers, %s",
  async (when) => {
    const source = new MemorySource(MIB);
    source.before.read = never;
    await using guest = await BlkGuest.start({ source });
    guest.begin("r 0 4");
    await sleep(200);
    // These wait for the disk.
    if (when === "after a pause") guest.vm.pause().catch(() => {});
    if (when === "after a reset") guest.vm.reset().catch(() => {});
    await sleep(200);
    const stopped = Date.now();
    await guest.vm.stop();
    expect(Date.now() - stopped).toBeLessThan(patience(PROMPT_MS));
    expect(await guest.vm.exited).toEqual({ reason: "stopped" });
  },
);

test("a disk of the program's own that takes its time mixes nothing up", async () => {
  const source = new MemorySource(MIB);
  source.before.write = source.before.read = () => sleep(Math.random() * 20);
  await using guest = await BlkGuest.start({ source });
  for (let round = 0; round < 4; round++) {
    for (let at = 0; at < 3; at++) {
      expect(await guest.write(at * 128, MOST_BLOCKS, 0x10 * round + at)).toBe(done(MOST_BLOCKS));
    }
    for (let at = 0; at < 3; at++) {
      expect(await guest.read(at * 128, MOST_BLOCKS)).toBe(full(MOST_BLOCKS, 0x10 * round + at));
    }
  }
  expect(await guest.flush()).toBe("0");
  expect(source.flushes).toBe(1);
});

test.each(["raw", "qcow2"] as const)(
  "a %s disk gets larger and smaller under a guest, which is notified, also after a reset",
  async (format) => {
    const file = format === "raw" ? rawImage("size.raw", new Uint8Array(MIB)) : qcow2Image("size.qcow2", MIB);
    await using guest = await BlkGuest.start({ file, format });
    const [drive] = guest.vm.drives;
    const end = (bytes: number) => bytes / 512 - SECTORS;
    expect(await guest.size()).toEqual({ bytes: MIB, changed: false });
    expect(await guest.write(end(2 * MIB), 1, 0x61)).toBe("1");

    await drive.resize(2 * MIB);
    expect(await guest.size()).toEqual({ bytes: 2 * MIB, changed: true });
    expect(await guest.read(end(2 * MIB), 1)).toBe("0=00");
    expect(await guest.write(end(2 * MIB), 1, 0x61)).toBe("0");

    const ready = guest.ready();
    await guest.vm.reset();
    await ready;
    expect(await guest.size()).toEqual({ bytes: 2 * MIB, changed: false });
    expect(await guest.read(end(2 * MIB), 1)).toBe("0=61");

    await guest.vm.pause();
    await drive.resize(MIB / 2);
    await guest.vm.resume();
    expect(await guest.size()).toEqual({ bytes: MIB / 2, changed: true });
    expect(await guest.read(end(2 * MIB), 1)).toMatch(/^1=/);
    expect(await guest.write(end(MIB / 2), 1, 0x62)).toBe("0");

    await drive.resize(2 * MIB);
    expect(await guest.read(end(2 * MIB), 1)).toBe("0=00"); // not what was there once
    expect(await guest.read(end(MIB / 2), 1)).toBe("0=62");
    expect(await guest.flush()).toBe("0");
    await guest.vm.stop();
    expect(guest.errors).toEqual([]);
    expect(qemuContents(file, format)).toHaveLength(2 * MIB);
    if (format === "qcow2") expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  },
);

test("a smaller disk while the guest writes to its end: in the disk or refused, and nothing behind it", async () => {
  const file = qcow2Image("shrink.qcow2", 4 * MIB);
  await using guest = await BlkGuest.start({ file, format: "qcow2" });
  const [drive] = guest.vm.drives;
  for (let round = 0; round < 16; round++) {
    const answer = guest.write((4 * MIB - MOST_BLOCKS * BLOCK) / 512, MOST_BLOCKS, 0x30 + round);
    await sleep(Math.random() * 4);
    await drive.resize(4 * MIB - 5 * BLOCK);
    expect(await answer).toMatch(/^(0 ){10}0( [01]){5}$/);
    await drive.resize(4 * MIB);
    const read = await guest.read((4 * MIB - MOST_BLOCKS * BLOCK) / 512, MOST_BLOCKS);
    expect(read).toBe(`${full(11, 0x30 + round)} ${full(5, 0)}`);
  }
  await guest.vm.stop();
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
});

test("snapshots of a disk in use: each holds what was written before it, and none what came after", async () => {
  const file = qcow2Image("snapshots.qcow2", 4 * MIB);
  await using guest = await BlkGuest.start({ file, format: "qcow2" });
  const [drive] = guest.vm.drives;
  expect(await drive.snapshots()).toEqual([]);
  const names: string[] = [];
  for (let n = 1; n <= 4; n++) {
    expect(await guest.write(0, MOST_BLOCKS, n)).toBe(done(MOST_BLOCKS));
    expect(await guest.write(1024 * n, 2, 0xf0 + n)).toBe(done(2));
    await drive.createSnapshot(`number ${n}`);
    names.push(`number ${n}`);
    expect(await guest.discard(0, 4)).toBe(done(4));
    await expect(drive.createSnapshot(`number ${n}`)).rejects.toMatchObject({ code: "EIMAGE" });
  }
  await drive.resize(8 * MIB);
  await drive.deleteSnapshot("number 2");
  await expect(drive.deleteSnapshot("number 2")).rejects.toMatchObject({
    name: "DriveError",
    code: "EIMAGE",
  });
  expect((await drive.snapshots()).map(({ name }) => name)).toEqual(names.filter((_, n) => n !== 1));
  expect(await guest.write(0, MOST_BLOCKS, 0x7f)).toBe(done(MOST_BLOCKS));
  expect(await guest.read(0, MOST_BLOCKS)).toBe(full(MOST_BLOCKS, 0x7f));
  await guest.vm.stop();
  await expect(drive.snapshots()).rejects.toMatchObject({ code: "ESTATE" });

  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  for (const n of [1, 3, 4]) {
    const copy = join(folder, `snapshot-${n}.raw`);
    qemuImg("convert", "-f", "qcow2", "-l", `snapshot.name=number ${n}`, "-O", "raw", file, copy);
    const disk = readFileSync(copy);
    expect(isFull(disk, 0, MOST_BLOCKS * BLOCK, n)).toBe(true);
    for (let m = 1; m <= 4; m++) {
      expect([n, m, isFull(disk, m * (MIB / 2), 2 * BLOCK, m <= n ? 0xf0 + m : 0)]).toEqual([n, m, true]);
    }
  }
});

test("what cannot be changed says why", async () => {
  const locked = rawImage("locked.raw", new Uint8Array(MIB));
  {
    await using guest = await BlkGuest.start({ file: locked, readOnly: true });
    const [drive] = guest.vm.drives;
    await expect(drive.resize(2 * MIB)).rejects.toThrow(/read-only/);
    await expect(drive.createSnapshot("now")).rejects.toThrow(/qcow2/);
    expect(await drive.snapshots()).toEqual([]);
    await expect(drive.resize(1000)).rejects.toThrow(RangeError);
  }
  await using guest = await BlkGuest.start({ source: new MemorySource(MIB), id: "memory" });
  const drive = guest.vm.drives.find(({ id }) => id === "memory");
  await expect(drive?.resize(2 * MIB)).rejects.toMatchObject({ code: "EIMAGE" });
  expect(await guest.write(0, 1, 0x61)).toBe("0");
});

test.each(["raw", "qcow2", "vdi"] as const)(
  "snapshot: a guest's writes to a %s disk survive its reset, end with the machine, and leave the image as it was",
  async (format) => {
    const content = Buffer.alloc(MIB, 0x42);
    const file = join(folder, `base.${format}`);
    qemuImg("convert", "-f", "raw", "-O", format, rawImage("content.raw", content), file);
    const before = hash(file);
    for (const _ of ["first", "second"]) {
      await using guest = await BlkGuest.start({ file, format, snapshot: true });
      expect(await guest.read(0, MOST_BLOCKS)).toBe(full(MOST_BLOCKS, 0x42));
      expect(await guest.write(8, 2, 0x61)).toBe(done(2));
      expect(await guest.zero(24, 1)).toBe("0");
      expect(await guest.discard(32, 1)).toBe("0");
      expect(await guest.flush()).toBe("0");
      const ready = guest.ready();
      await guest.vm.reset();
      await ready;
      expect(await guest.read(0, 4)).toBe("0=42 0=61 0=61 0=00");
      await using other = await BlkGuest.start({ file, format, snapshot: true });
      expect(await other.read(0, 4)).toBe(full(4, 0x42));
      expect(hash(file)).toBe(before);
    }
    expect(hash(file)).toBe(before);
  },
);

test.each(["vdi", "vmdk"] as const)("a guest reads a %s disk that it may not write", async (format) => {
  const file = join(folder, `read-only.${format}`);
  const content = Buffer.alloc(MIB, 0x42);
  content.fill(0x43, BLOCK, 2 * BLOCK);
  qemuImg("convert", "-f", "raw", "-O", format, rawImage("content.raw", content), file);
  const before = hash(file);
  await using guest = await BlkGuest.start({ file, format, readOnly: true });
  expect(await guest.read(0, 3)).toBe("0=42 0=43 0=42");
  expect(await guest.write(0, 1, 0x61)).toBe("1");
  expect(await guest.read(0, 1)).toBe("0=42");
  await guest.vm.stop();
  expect(hash(file)).toBe(before);
});

test("throttling: so many requests take as long as they may, and all are carried out", async () => {
  const file = rawImage("throttled.raw", new Uint8Array(MIB));
  await using guest = await BlkGuest.start({ file, format: "raw", throttling: { iopsTotal: 40 } });
  const began = performance.now();
  for (let round = 0; round < 4; round++) {
    expect(await guest.write(round * 128, MOST_BLOCKS, 0x61 + round)).toBe(done(MOST_BLOCKS));
  }
  const seconds = (performance.now() - began) / 1000;
  // 64 requests at 40 a second, of which a tenth of a second's are free.
  expect(seconds).toBeGreaterThan(1.3);
  expect(seconds).toBeLessThan(10);
  expect(await guest.read(3 * 128, MOST_BLOCKS)).toBe(full(MOST_BLOCKS, 0x64));
});

test("a throttled machine can be paused, resized and stopped while requests wait", async () => {
  const file = rawImage("slow.raw", new Uint8Array(MIB));
  await using guest = await BlkGuest.start({ file, format: "raw", throttling: { bpsWrite: 2 * BLOCK } });
  const answer = guest.write(0, 4, 0x61);
  await sleep(100);
  await guest.vm.pause();
  await guest.vm.drives[0].resize(2 * MIB);
  await guest.vm.resume();
  expect(await answer).toBe(done(4));
  guest.begin("w 0 10 62");
  await sleep(100);
  const stopped = Date.now();
  await guest.vm.stop();
  expect(Date.now() - stopped).toBeLessThan(patience(PROMPT_MS));
});

test.each([
  { aio: "threads" },
  { cache: "unsafe" },
  { cache: "writethrough" },
  { detectZeroes: "unmap" },
] as const)("the same bytes with %o", async (options) => {
  const file = qcow2Image(`${Object.values(options).join()}.qcow2`, 4 * MIB);
  await using guest = await BlkGuest.start({ file, format: "qcow2", ...options });
  for (const [n, byte] of [0x61, 0, 0x62].entries()) {
    expect(await guest.write(n * 128, MOST_BLOCKS, byte)).toBe(done(MOST_BLOCKS));
  }
  for (const [n, byte] of [0x61, 0, 0x62].entries()) {
    expect(await guest.read(n * 128, MOST_BLOCKS)).toBe(full(MOST_BLOCKS, byte));
  }
  expect(await guest.flush()).toBe("0");
  await guest.vm.stop();
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  expect(guest.errors).toEqual([]);
});

test("a dirty bitmap of an image records what a guest writes, and is consistent when the machine has ended", async () => {
  const file = qcow2Image("bitmap.qcow2", MIB);
  qemuImg("bitmap", "--add", "-g", String(BLOCK), file, "b");
  {
    // The name that QEMU's users give a file whose own name has a colon.
    await using guest = await BlkGuest.start({ file: `file:${file}`, format: "qcow2" });
    expect(await guest.write(5 * SECTORS, 2, 0x61)).toBe(done(2));
  }
  using image = openQcow2(file, { readOnly: true });
  const [entry] = readBitmapDirectory(image.file, image.header)?.entries ?? [];
  expect(entry).toMatchObject({ name: "b", auto: true, inUse: false });
  expect([...readBits(image.file, image.header, entry).bytes]).toEqual([0x60, ...new Array(31).fill(0)]);
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
});
