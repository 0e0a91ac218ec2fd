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

test("a file that is not a kernel is refused with every format that was tried", () => {
  const text = new TextEncoder().encode("this is not a kernel\n".repeat(100));
  expect(() => planBoot(bootRequest(text))).toThrow(
    'vmlinuz: not a boot image that vmexit supports. Tried: bzImage: no "HdrS" at 0x202; ' +
      "Multiboot: no header in the first 8192 bytes; PVH: no magic 7f 45 4c 46; flat binary: only with a load address",
  );
});

const at = (offset: number, ...bytes: number[]) =>
  Uint8Array.from([...new Uint8Array(offset), ...bytes, 0, 0]);
const multiboot2 = (checksum: number) => {
  const bytes = new Uint8Array(0x1000);
  [0xe852_50d6, 0, 24, checksum].forEach((word, i) => {
    new DataView(bytes.buffer).setUint32(0x20 + 4 * i, word, true);
  });
  return bytes;
};

test.each([
  ["a gzip file: unpack it first", at(0, 0x1f, 0x8b)],
  ["a qcow2 disk", at(0, 0x51, 0x46, 0x49, 0xfb)],
  ["a Linux kernel for arm64", at(0x38, 0x41, 0x52, 0x4d, 0x64)],
  ["an ISO 9660 image: the kernel is a file in it", at(0x8001, 0x43, 0x44, 0x30, 0x30, 0x31)],
  ["a disk or a boot sector", at(510, 0x55, 0xaa)],
  ["a Multiboot 2 kernel; vmexit supports Multiboot 1", multiboot2(0x17ad_af12)],
  ["an empty file", new Uint8Array()],
])("a file given by mistake is recognised: %s", (likeness, file) => {
  expect(() => planBoot(bootRequest(file))).toThrow(`(it seems to be ${likeness}). Tried: bzImage: `);
});

test("a Multiboot 2 header with a wrong checksum does not count, and an unknown file is not guessed at", () => {
  for (const file of [multiboot2(0x17ad_af13), new Uint8Array(64), at(0, 0x1f)]) {
    expect(() => planBoot(bootRequest(file))).toThrow(
      "vmlinuz: not a boot image that vmexit supports. Tried: ",
    );
  }
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
