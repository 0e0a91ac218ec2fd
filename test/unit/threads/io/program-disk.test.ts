import { expect, test } from "vitest";
import { EINPROGRESS } from "../../../../src/base/errno.ts";
import { Pieces } from "../../../../src/base/pieces.ts";
import { type DiskSource, sourceFacts } from "../../../../src/disk/disk-source.ts";
import { GuestMemory } from "../../../../src/memory/guest-memory.ts";
import { CONTROL_WORDS, Control, END } from "../../../../src/threads/control.ts";
import { ProgramDisk } from "../../../../src/threads/io/program-disk.ts";
import { ProgramDiskPort } from "../../../../src/vm/program-disks.ts";

const MIB = 2 ** 20;
const EIO = -5;
const ENOSPC = -28;

/** Both ends, on one thread: what the io thread asks is answered while the test awaits. */
function rig(source: DiskSource, { discards = true } = {}) {
  const ramBytes = 8 * MIB;
  const ram = new SharedArrayBuffer(ramBytes);
  const memory = new GuestMemory({ size: ramBytes, map: (_, length) => shared(ram, length) }, [
    { address: 0, size: ramBytes, offset: 0 },
  ]);
  const control = new Control(new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS)));
  const failures: string[] = [];
  const port = new ProgramDiskPort(source, sourceFacts(source), memory, 16, (why) => void failures.push(why));
  const disk = new ProgramDisk(port.data, discards, control, (tag, request) => port.ask(tag, request));
  /** Waits until the source is idle, and takes completed requests. */
  const over = async () => {
    await port.idle();
    const results: [tag: number, result: number][] = [];
    for (let tag = disk.take(); tag >= 0; tag = disk.take()) results.push([tag, disk.result]);
    return results;
  };
  return { memory, control, failures, port, disk, over };
}

function shared(ram: SharedArrayBuffer, length: number): SharedArrayBuffer {
  if (length !== ram.byteLength) throw new Error("one chunk is enough for a test");
  return ram;
}

/** Bytes in a buffer. */
function bufferDisk(size = MIB): DiskSource & { bytes: Uint8Array; calls: string[] } {
  const bytes = new Uint8Array(size);
  const calls: string[] = [];
  return {
    size,
    bytes,
    calls,
    async read(offset, views) {
      let at = offset;
      for (const view of views) {
        view.set(bytes.subarray(at, at + view.length));
        at += view.length;
      }
    },
    async write(offset, views) {
      let at = offset;
      for (const view of views) {
        bytes.set(view, at);
        at += view.length;
      }
      calls.push(`write ${offset} ${at - offset}`);
    },
    flush: () => void calls.push("flush"),
  };
}

test("what the guest writes is in the program's disk, and comes back", async () => {
  const source = bufferDisk();
  const { memory, disk, over } = rig(source);
  memory.write(0x1000, new Uint8Array(512).fill(0xa1));
  memory.write(0x5000, new Uint8Array(1024).fill(0xa2));
  const pieces = Pieces.of(0, 0, 0x1000, 512, 0x5000, 1024);
  pieces.first = 1;
  pieces.count = 2;
  expect(disk.writev(pieces, 4096, false, 7)).toBe(EINPROGRESS);
  expect(await over()).toEqual([[7, 1536]]);
  expect([4095, 4096, 4607, 4608, 5631, 5632].map((at) => source.bytes[at])).toEqual([
    0, 0xa1, 0xa1, 0xa2, 0xa2, 0,
  ]);
  expect(disk.readv(Pieces.of(0x9000, 1024), 4096, 3)).toBe(EINPROGRESS);
  expect(await over()).toEqual([[3, 1024]]);
  expect([0x9000, 0x91ff, 0x9200].map((at) => memory.getUint8(at))).toEqual([0xa1, 0xa1, 0xa2]);
});

test("a transfer larger than one view of guest memory is whole", async () => {
  const source = bufferDisk(8 * MIB);
  const { memory, disk, over } = rig(source);
  memory.write(5 * MIB - 1, Uint8Array.of(9));
  disk.writev(Pieces.of(0, 5 * MIB), 0, false, 0);
  expect(await over()).toEqual([[0, 5 * MIB]]);
  expect(source.bytes[5 * MIB - 1]).toBe(9);
});

test("a stable write is flushed before it completes; methods that a source lacks are replaced", async () => {
  const source = bufferDisk();
  source.bytes.fill(1);
  const { disk, over } = rig(source);
  disk.writev(Pieces.of(0, 512), 0, true, 0);
  await over();
  expect(source.calls).toEqual(["write 0 512", "flush"]);
  disk.writeZeroes(1024, 2048, true, 1);
  disk.discard(0, 512, 2);
  disk.flush(3);
  expect((await over()).sort(([a], [b]) => a - b)).toEqual([
    [1, 0],
    [2, 0],
    [3, 0],
  ]);
  expect(source.bytes.subarray(1023, 3073).reduce((sum, byte) => sum + byte, 0)).toBe(2);
});

test("with discard=ignore the program hears of no discards, and gives no storage back for zeros", async () => {
  const heard: string[] = [];
  const source: DiskSource = {
    ...bufferDisk(),
    discard: () => void heard.push("discard"),
    writeZeroes: (_offset, _length, mayUnmap) => void heard.push(`zeroes ${mayUnmap}`),
  };
  const { disk, over } = rig(source, { discards: false });
  expect(disk.discard(0, 512, 1)).toBe(0);
  disk.writeZeroes(0, 512, true, 2);
  expect(await over()).toEqual([[2, 0]]);
  expect(heard).toEqual(["zeroes false"]);
});

test("an error of a source is an error of that kind for the guest, and is reported to the program", async () => {
  const source: DiskSource = {
    size: 4096,
    read: () => {
      throw Object.assign(new Error("the cable was pulled"), { code: "ENOSPC" });
    },
    write: () => Promise.reject(new Error("no")),
  };
  const { disk, over, failures } = rig(source);
  disk.readv(Pieces.of(0, 512), 0, 1);
  disk.writev(Pieces.of(0, 512), 0, false, 2);
  expect((await over()).sort(([a], [b]) => a - b)).toEqual([
    [1, ENOSPC],
    [2, EIO],
  ]);
  expect(failures[0]).toContain("read of the program's own disk threw: Error: the cable was pulled");
});

test("a guest cannot flood the program with what its disk throws", async () => {
  const source: DiskSource = { size: 4096, read: () => Promise.reject(new Error("no")) };
  const { disk, over, failures } = rig(source);
  for (let round = 0; round < 20; round++) {
    disk.readv(Pieces.of(0, 512), 0, 1);
    expect(await over()).toEqual([[1, EIO]]);
  }
  expect(failures).toHaveLength(5); // the 1st, 2nd, 4th, 8th and 16th
});

test("requests end in the order in which the program answers them", async () => {
  const waiting: (() => void)[] = [];
  const source: DiskSource = {
    size: 4096,
    read: () => new Promise<void>((resolve) => void waiting.push(resolve)),
  };
  const { disk, over } = rig(source);
  for (const tag of [4, 5, 6]) disk.readv(Pieces.of(0, 512), 0, tag);
  for (const resolve of waiting.reverse()) resolve();
  expect((await over()).map(([tag]) => tag)).toEqual([6, 5, 4]);
});

test("a machine that ends does not wait for a program that never answers", () => {
  const { disk, control } = rig({ size: 4096, read: () => new Promise<void>(() => {}) });
  disk.readv(Pieces.of(0, 512), 0, 0);
  control.request(END);
  expect(disk.drain()).toBe(false);
});

test("an answer that comes after the end goes nowhere", async () => {
  const answers: (() => void)[] = [];
  const source: DiskSource = {
    size: 4096,
    read: () => new Promise<void>((resolve) => void answers.push(resolve)),
  };
  const { disk, port } = rig(source);
  disk.readv(Pieces.of(0, 512), 0, 0);
  port.close();
  for (const answer of answers) answer();
  await port.idle();
  expect(disk.take()).toBe(-1);
});
