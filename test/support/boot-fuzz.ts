/** Passes broken kernels to planBoot and checks the result. */
import { expect } from "vitest";
import { planBoot } from "../../src/boot/kernel.ts";
import { BootError, type MemoryRange } from "../../src/boot/plan.ts";
import { memoryOf, source } from "./boot-images.ts";
import { random } from "./random.ts";

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

/** A copy of `image` with a few bytes, words or its length changed, mostly within `headerSize` of its start. */
export function mutate(image: Uint8Array, headerSize: number, next: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(next() * limit);
  const bytes = image.slice();
  const data = new DataView(bytes.buffer);
  for (let changes = 1 + below(6); changes > 0; changes--) {
    const at = below(next() < 0.9 ? Math.min(headerSize, bytes.length) : bytes.length);
    if (next() < 0.5 || at + 4 > bytes.length) bytes[at] = below(256);
    else data.setUint32(at, INTERESTING[below(INTERESTING.length)], next() < 0.9);
  }
  return next() < 0.2 ? bytes.subarray(0, below(bytes.length + 1)) : bytes;
}

/** Every plan for a kernel stays within RAM and the file. The only other result is a BootError. */
export function expectPlanOrRefusal(kernel: Uint8Array, seed: number): "planned" | "refused" {
  const next = random(seed ^ 0x5eed);
  const memory = memoryOf([16, 64, 256, 5 * 1024][Math.floor(next() * 4)]);
  const initrd = next() < 0.5 ? { initrd: { size: 1 + Math.floor(next() * 2 ** 25), name: "initrd" } } : {};
  try {
    const request = {
      kernel: source(kernel),
      kernelName: "k",
      cmdline: "quiet",
      memory,
      rsdp: 0xe0000,
      ...initrd,
    };
    for (const { address, size, data, what } of planBoot(request).placements) {
      expect(insideRam(memory, address, size), `seed ${seed}: ${what} at ${address}, ${size} bytes`).toBe(
        true,
      );
      if (data instanceof Uint8Array) expect(data.length).toBeLessThanOrEqual(size);
      else {
        expect(data.length, `seed ${seed}: ${what}`).toBeLessThanOrEqual(size);
        if (data.file === "kernel" && data.length > 0) {
          expect(data.offset + data.length).toBeLessThanOrEqual(kernel.length);
        }
      }
    }
    return "planned";
  } catch (error) {
    if (!(error instanceof BootError)) throw error;
    expect(error.message).toMatch(/^(k|initrd|command line|memory map): /);
    return "refused";
  }
}

function insideRam(memory: readonly MemoryRange[], address: number, size: number): boolean {
  return memory.some(
    (range) =>
      range.type === "ram" && address >= range.address && address + size <= range.address + range.size,
  );
}
