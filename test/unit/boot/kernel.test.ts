import { expect, test } from "vitest";
import { planBoot } from "../../../src/boot/kernel.ts";
import { BootError } from "../../../src/boot/plan.ts";
import { bootRequest, bzImage, memoryOf, vmlinux } from "../../support/boot-images.ts";
import { elfKernel } from "../../support/multiboot-images.ts";

test("a bzImage, a Multiboot kernel, an ELF kernel and a flat binary are each started by their own protocol", () => {
  expect(planBoot(bootRequest(bzImage())).protocol).toBe("bzImage");
  expect(planBoot(bootRequest(elfKernel())).protocol).toBe("Multiboot");
  expect(planBoot(bootRequest(vmlinux())).protocol).toBe("PVH");
  const flat = bootRequest(new Uint8Array([0xf4]), { flat: { address: 0x7c00 }, cmdline: "" });
  expect(planBoot(flat).protocol).toBe("flat");
});

test("a file that is no kernel is refused with every format that was tried", () => {
  const text = new TextEncoder().encode("this is no kernel\n".repeat(100));
  expect(() => planBoot(bootRequest(text))).toThrow(
    'vmlinuz: no boot image that vmexit knows: bzImage: no "HdrS" at 0x202; ' +
      "Multiboot: no header in the first 8192 bytes; PVH: no magic 7f 45 4c 46; a flat binary needs an address",
  );
});

test("an empty kernel file is refused, not misread", () => {
  expect(() => planBoot(bootRequest(new Uint8Array(0)))).toThrow(BootError);
});

test("a load address makes any file a flat binary, even one that looks like a bzImage", () => {
  const request = bootRequest(bzImage(), { flat: { address: 0x10000 }, cmdline: "" });
  expect(planBoot(request).protocol).toBe("flat");
});

test("what a guest has above 4 GiB does not change where its kernel goes", () => {
  const kernelAt = (mib: number) =>
    planBoot(bootRequest(bzImage(), { memory: memoryOf(mib) })).placements.find((p) => p.what === "kernel")
      ?.address;
  expect(kernelAt(5 * 1024)).toBe(kernelAt(64));
});
