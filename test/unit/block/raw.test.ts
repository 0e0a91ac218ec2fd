import { describe, expect, test } from "vitest";
import { type ImageFile, RawImage } from "../../../src/block/raw.ts";
import { RAM, TestMemory } from "../../support/virtio-driver.ts";

const EIO = -5;
const ENOSPC = -28;
const EOPNOTSUPP = -95;

/** A file of a host that does as little as possible by itself. */
class FakeFile implements ImageFile {
  readonly readOnly = false;
  readonly blockSize = 4096;
  bytes: Uint8Array;
  failure = 0;
  room = Number.POSITIVE_INFINITY;
  readonly calls: string[] = [];
  readonly #memory: TestMemory;

  constructor(memory: TestMemory, size: number) {
    this.#memory = memory;
    this.bytes = new Uint8Array(size).fill(0x11);
  }

  get size(): number {
    return this.bytes.length;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number): number {
    let done = 0;
    for (let i = first; i < first + count; i++) {
      const part = this.bytes.subarray(offset + done, offset + done + iov[2 * i + 1]);
      this.#memory.bytes.set(part, iov[2 * i]);
      done += part.length;
    }
    return this.failure === 0 ? done : this.failure;
  }

  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number {
    let done = 0;
    for (let i = first; i < first + count; i++) {
      done += this.#take(this.#memory.bytes.subarray(iov[2 * i], iov[2 * i] + iov[2 * i + 1]), offset + done);
    }
    if (dsync) this.calls.push("dsync");
    return done;
  }

  write(bytes: Uint8Array, offset: number): number {
    const done = this.#take(bytes, offset);
    return done === bytes.length ? done : ENOSPC;
  }

  #take(bytes: Uint8Array, offset: number): number {
    const part = bytes.subarray(0, Math.max(0, this.room - offset));
    const longer = new Uint8Array(Math.max(this.size, offset + part.length));
    longer.set(this.bytes);
    longer.set(part, offset);
    this.bytes = longer;
    return part.length;
  }

  flush(): number {
    this.calls.push("flush");
    return this.failure;
  }

  discard(): number {
    return EOPNOTSUPP;
  }

  writeZeroes(): number {
    return this.failure === 0 ? EOPNOTSUPP : this.failure;
  }

  close(): void {
    this.calls.push("close");
  }
}

function rig(size: number) {
  const memory = new TestMemory();
  const file = new FakeFile(memory, size);
  const at = (address: number) => memory.translate(address, 1);
  return { memory, file, image: new RawImage(file, memory), at };
}

test("a file of whole sectors is a disk of its size", () => {
  expect(rig(4096).image.size).toBe(4096);
  expect(rig(0).image.size).toBe(0);
});

describe("a file that ends within a sector", () => {
  test("has its last sector, whose missing part reads as zeros over whatever was in memory", () => {
    const { memory, image, at } = rig(1000);
    expect(image.size).toBe(1024);
    memory.bytes.fill(0xff, at(RAM), at(RAM) + 0x4000);
    const iov = Float64Array.of(0, 0, at(RAM), 500, at(RAM + 0x1000), 12);
    expect(image.readv(iov, 1, 2, 512)).toBe(512);
    const found = [0, 487, 488, 499, 500, 0x1000, 0x100b, 0x100c].map((i) => memory.at(RAM + i).getUint8(0));
    expect(found).toEqual([0x11, 0x11, 0, 0, 0xff, 0, 0, 0xff]);
  });

  test("keeps what is written there", () => {
    const { memory, image, at, file } = rig(1000);
    memory.bytes.fill(0x22, at(RAM), at(RAM) + 512);
    expect(image.writev(Float64Array.of(at(RAM), 512), 0, 1, 512, false)).toBe(512);
    expect(file.size).toBe(1024);
    memory.bytes.fill(0, at(RAM), at(RAM) + 512);
    image.readv(Float64Array.of(at(RAM), 512), 0, 1, 512);
    expect(memory.at(RAM + 511).getUint8(0)).toBe(0x22);
  });
});

test("a file that was cut under the machine fails to read, it does not read as zeros", () => {
  const { image, file, at } = rig(4096);
  file.bytes = file.bytes.subarray(0, 600);
  expect(image.readv(Float64Array.of(at(RAM), 512), 0, 1, 512)).toBe(EIO);
  expect(image.readv(Float64Array.of(at(RAM), 512), 0, 1, 2048)).toBe(EIO);
  expect(image.readv(Float64Array.of(at(RAM), 512), 0, 1, 0)).toBe(512);
});

test("a write that the host took only in part has failed", () => {
  const { image, file, at } = rig(4096);
  file.room = 700;
  expect(image.writev(Float64Array.of(at(RAM), 512), 0, 1, 512, false)).toBe(EIO);
});

test("errors of the host pass unchanged", () => {
  const { image, file, at } = rig(4096);
  file.failure = -28;
  expect(image.readv(Float64Array.of(at(RAM), 512), 0, 1, 0)).toBe(-28);
  expect(image.flush()).toBe(-28);
  expect(image.writeZeroes(0, 512, false)).toBe(-28);
  expect(image.discard(0, 512)).toBe(EOPNOTSUPP);
});

test("zeros are written one by one where the host cannot make them", () => {
  const { image, file } = rig(300_000);
  expect(image.writeZeroes(512, 200_704, true)).toBe(0);
  expect([511, 512, 201_215, 201_216].map((i) => file.bytes[i])).toEqual([0x11, 0, 0, 0x11]);
  file.room = 100_000;
  expect(image.writeZeroes(512, 200_704, true)).toBe(ENOSPC);
});

test("a stable write asks the host for one", () => {
  const { image, file, at } = rig(4096);
  image.writev(Float64Array.of(at(RAM), 512), 0, 1, 0, true);
  image.flush();
  image.close();
  expect(file.calls).toEqual(["dsync", "flush", "close"]);
});
