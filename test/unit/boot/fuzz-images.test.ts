import { expect, test } from "vitest";
import { expectPlanOrRefusal, mutate } from "../../support/boot-fuzz.ts";
import { bzImage, vmlinux } from "../../support/boot-images.ts";
import { random } from "../../support/random.ts";

const ROUNDS = 3000;
/** Seeds that once made something else than a plan or a refusal, kept for good. */
const FOUND = { bzImage: [] as number[], elf: [] as number[], noise: [] as number[] };

const seeds = (found: readonly number[]) => [...found, ...Array.from({ length: ROUNDS }, (_, i) => i)];

test("a damaged bzImage is planned within RAM or refused", () => {
  const image = bzImage();
  const outcomes = seeds(FOUND.bzImage).map((seed) =>
    expectPlanOrRefusal(mutate(image, 0x290, random(seed)), seed),
  );
  expect(new Set(outcomes)).toEqual(new Set(["planned", "refused"])); // else the damage is too small or too large
});

test("a damaged ELF kernel is planned within RAM or refused", () => {
  const image = vmlinux();
  const notes = image.length - 80;
  const outcomes = seeds(FOUND.elf).map((seed) => {
    const next = random(seed);
    const damaged = mutate(image, 64 + 3 * 56, next);
    if (next() < 0.3 && damaged.length === image.length) {
      damaged[notes + Math.floor(next() * 80)] = Math.floor(next() * 256);
    }
    return expectPlanOrRefusal(damaged, seed);
  });
  expect(new Set(outcomes)).toEqual(new Set(["planned", "refused"]));
});

test("noise is refused, with and without the magic numbers of a kernel", () => {
  for (const seed of seeds(FOUND.noise)) {
    const next = random(seed);
    const bytes = Uint8Array.from({ length: Math.floor(next() * 2048) }, () => Math.floor(next() * 256));
    if (seed % 3 === 1) bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1].slice(0, bytes.length));
    if (seed % 3 === 2 && bytes.length > 0x206) bytes.set([0x48, 0x64, 0x72, 0x53], 0x202);
    expectPlanOrRefusal(bytes, seed);
  }
});

test("a kernel cut off anywhere is refused or whole", () => {
  for (const image of [bzImage({ codeLength: 16, setupSects: 1 }), vmlinux()]) {
    for (let length = 0; length < Math.min(image.length, 1200); length++) {
      expectPlanOrRefusal(image.subarray(0, length), length);
    }
  }
});
