import { expect, test } from "vitest";
import { expectPlanOrRefusal, mutate } from "../../support/boot-fuzz.ts";
import { addressedKernel, elfKernel, MULTIBOOT_MAGIC } from "../../support/multiboot-images.ts";
import { random } from "../../support/random.ts";

const ROUNDS = 2000;
const seeds = Array.from({ length: ROUNDS }, (_, i) => i);

/** Makes the header's checksum right again, as a hostile file would have it. */
function repair(image: Uint8Array, header: number): Uint8Array {
  if (image.length >= header + 12) {
    const data = new DataView(image.buffer, image.byteOffset);
    data.setUint32(header, MULTIBOOT_MAGIC, true);
    data.setUint32(header + 8, -(MULTIBOOT_MAGIC + data.getUint32(header + 4, true)) >>> 0, true);
  }
  return image;
}

test("a damaged Multiboot ELF kernel is planned within RAM or refused", () => {
  const image = elfKernel();
  const header = 52 + 2 * 32;
  const outcomes = seeds.map((seed) =>
    expectPlanOrRefusal(repair(mutate(image, header + 12, random(seed)), header), seed),
  );
  expect(new Set(outcomes)).toEqual(new Set(["planned", "refused"])); // else the damage is too small or too large
});

test("a Multiboot kernel with damaged load addresses is planned within RAM or refused", () => {
  const image = addressedKernel({ loadEnd: 0x100800, bssEnd: 0x180000 }, { offset: 0 });
  const outcomes = seeds.map((seed) => expectPlanOrRefusal(repair(mutate(image, 32, random(seed)), 0), seed));
  expect(new Set(outcomes)).toEqual(new Set(["planned", "refused"]));
});

test("a Multiboot kernel cut off anywhere is refused or whole", () => {
  for (const image of [elfKernel(), addressedKernel()]) {
    for (let length = 0; length < Math.min(image.length, 600); length++) {
      expectPlanOrRefusal(image.subarray(0, length), length);
    }
  }
});
