import { expect, test } from "vitest";
import { planBoot } from "../../../src/boot/kernel.ts";
import type { BootPlan } from "../../../src/boot/plan.ts";
import type { BootRequest } from "../../../src/boot/request.ts";
import { bootRequest, bzImage, madeBytes, memoryOf } from "../../support/boot-images.ts";

const ZERO_PAGE = 0x8000;

function plan(kernel: Uint8Array, more: Partial<BootRequest> = {}): BootPlan {
  return planBoot(bootRequest(kernel, more));
}

function place(boot: BootPlan, what: string) {
  const found = boot.placements.find((placement) => placement.what === what);
  if (found === undefined) throw new Error(`nothing placed as ${what}`);
  return found;
}

test("the kernel goes where it prefers to be and starts in 64-bit mode 0x200 behind that", () => {
  const boot = plan(bzImage({ prefAddress: 0x1000000n, setupSects: 7, codeLength: 0x3000 }));
  expect(place(boot, "kernel")).toEqual({
    what: "kernel",
    address: 0x1000000,
    size: 0x3000,
    data: { file: "kernel", offset: 8 * 512, length: 0x3000 },
  });
  expect(boot.entry).toEqual({ mode: "long64", rip: 0x1000200, registers: { rsi: ZERO_PAGE } });
});

test("setup_sects of 0 means 4", () => {
  const { data } = place(plan(bzImage({ setupSects: 0 })), "kernel");
  expect(data).toMatchObject({ offset: 5 * 512 });
});

test("bytes behind the code, such as a signature, are not loaded", () => {
  const signed = new Uint8Array([...bzImage({ codeLength: 0x2000 }), ...new Uint8Array(1472)]);
  expect(place(plan(signed), "kernel").size).toBe(0x2000);
});

test("a kernel without a 64-bit entry is started by the 32-bit protocol at its first byte", () => {
  for (const image of [
    bzImage({ xloadflags: 0 }),
    bzImage({ version: 0x020b }),
    bzImage({ version: 0x0206 }),
  ]) {
    const { entry } = plan(image);
    expect(entry.mode).toBe("protected32");
    expect(entry.registers).toEqual({ rsi: ZERO_PAGE });
  }
});

// Debian's memtest86+ 6.10 ends 8 bytes, and 7.20 4 and 8 bytes, before the end of its last paragraph.
test.each([1, 4, 8, 15])(
  "a file that ends %i bytes before the end of its last paragraph is whole",
  (missing) => {
    const image = bzImage({ codeLength: 0x2000 });
    expect(place(plan(image.subarray(0, image.length - missing)), "kernel").size).toBe(0x2000 - missing);
  },
);

test("a file that lacks a paragraph is refused", () => {
  const image = bzImage();
  expect(() => plan(image.subarray(0, image.length - 16))).toThrow("cut off");
});

test("before protocol 2.04, or where syssize is 0, the code extends to the end of the file", () => {
  const old = bzImage({ version: 0x0203, codeLength: 0x2005, sysSize: 0x12 });
  expect(place(plan(old), "kernel").size).toBe(0x2005);
  expect(place(plan(bzImage({ codeLength: 0x2005, sysSize: 0 })), "kernel").size).toBe(0x2005);
});

test.each([0x0200, 0x0201, 0x0202, 0x0203, 0x0204, 0x0205])(
  "a bzImage of protocol %x starts at 1 MiB, whatever it has where later versions have fields",
  (version) => {
    const image = bzImage({
      version,
      relocatable: 1,
      kernelAlignment: 0x12345,
      cmdlineSize: 5,
      xloadflags: 1,
    });
    const boot = plan(image, { cmdline: "x".repeat(255) });
    expect(boot.entry).toEqual({ mode: "protected32", rip: 0x100000, registers: { rsi: ZERO_PAGE } });
    expect(() => plan(image, { cmdline: "x".repeat(256) })).toThrow("accepts at most 255");
    // The command line's place was a magic number and an offset before 2.02.
    const page = madeBytes(boot.placements, "zero page");
    const said = [page.getUint16(0x20, true), ZERO_PAGE + page.getUint16(0x22, true)];
    expect(said).toEqual(version < 0x0202 ? [0xa33f, place(boot, "command line").address] : [0, ZERO_PAGE]);
  },
);

test("an initrd ends below 0x38000000 for a kernel from before initrd_addr_max", () => {
  const options = { initrd: { size: 0x1000, name: "initrd" }, memory: memoryOf(1024) };
  const image = bzImage({ version: 0x0202, initrdAddrMax: 0x1ffffff });
  expect(place(plan(image, options), "initrd").address).toBe(0x37fff000);
});

test("a kernel whose alignment is not a power of two is not moved, as GRUB has it", () => {
  const image = bzImage({ kernelAlignment: 0x300000, prefAddress: 0x1000000n });
  expect(place(plan(image), "kernel").address).toBe(0x100000);
});

test("a kernel older than protocol 2.10 is loaded at 1 MiB: its header has no preferred address", () => {
  const boot = plan(bzImage({ version: 0x0206, relocatable: 0, prefAddress: 0xdeadbeefn }));
  expect(place(boot, "kernel").address).toBe(0x100000);
});

test("a kernel that cannot be moved is loaded at 1 MiB and its initrd keeps clear of where it will run", () => {
  const image = bzImage({ relocatable: 0, prefAddress: 0x2000000n, initSize: 0x1fff000 });
  const boot = plan(image, { initrd: { size: 0x2000, name: "initrd" } });
  expect(place(boot, "kernel").address).toBe(0x100000);
  expect(boot.entry.rip).toBe(0x100200);
  expect(place(boot, "initrd").address).toBe(0x1ffe000); // the page that is left above 0x3fff000 is too small
});

test("a kernel that may be moved goes up to the first RAM that has room, aligned", () => {
  const boot = plan(bzImage({ prefAddress: 0x1000000n, initSize: 0x1000000, kernelAlignment: 0x1000000 }), {
    memory: [
      { address: 0, size: 0xa0000, type: "ram" },
      { address: 0x100000, size: 0x1800000, type: "ram" },
      { address: 0x4300000, size: 0x3000000, type: "ram" },
    ],
  });
  expect(place(boot, "kernel").address).toBe(0x5000000);
});

test("the zero page carries the setup header, the loader's answers and the memory map", () => {
  const image = bzImage({ initSize: 0x345000 });
  const boot = plan(image, {
    initrd: { size: 5000, name: "initrd" },
    rsdp: 0xe0010,
    memory: memoryOf(5 * 1024),
  });
  const page = madeBytes(boot.placements, "zero page");
  expect(page.byteLength).toBe(4096);
  expect(page.getUint32(0x202, true)).toBe(0x53726448); // HdrS
  expect(page.getUint32(0x260, true)).toBe(0x345000); // init_size, copied
  expect(page.getUint16(0x1fa, true)).toBe(0xffff); // vid_mode: normal
  expect(page.getUint8(0x210)).toBe(0xff); // type_of_loader: undefined
  expect(page.getUint8(0x211) & 1).toBe(1); // LOADED_HIGH stays
  expect(page.getUint32(0x214, true)).toBe(0x1000000); // code32_start
  expect(page.getUint32(0x218, true)).toBe(place(boot, "initrd").address);
  expect(page.getUint32(0x21c, true)).toBe(5000);
  expect(page.getUint32(0x228, true)).toBe(place(boot, "command line").address);
  expect([page.getUint32(0xc0, true), page.getUint32(0xc4, true), page.getUint32(0xc8, true)]).toEqual([
    0, 0, 0,
  ]);
  expect(page.getBigUint64(0x70, true)).toBe(0xe0010n);
  expect(page.getUint8(0x1ef)).toBe(0); // sentinel: anything else makes the kernel clear what is here
  expect(page.getUint8(0x1e8)).toBe(4);
  const entries = [0, 1, 2, 3].map((i) => [
    page.getBigUint64(0x2d0 + i * 20, true),
    page.getBigUint64(0x2d8 + i * 20, true),
    page.getUint32(0x2e0 + i * 20, true),
  ]);
  expect(entries).toEqual([
    [0n, 0x9fc00n, 1],
    [0x9fc00n, 0x60400n, 2],
    [0x100000n, 0xbff00000n, 1],
    [0x100000000n, 0x80000000n, 1],
  ]);
});

test("no byte of the file outside the setup header reaches the zero page", () => {
  const image = bzImage();
  image.fill(0xaa, 0, 0x1f1);
  image.fill(0xaa, 0x26c, 0x300); // behind the header: its jump says it ends at 0x26c
  const page = madeBytes(plan(image).placements, "zero page");
  expect(page.getUint8(0x1f0)).toBe(0);
  expect(page.getUint8(0x26c)).toBe(0);
  expect(page.getUint8(0x28f)).toBe(0);
});

test("an initrd lies as high as RAM goes, on a page", () => {
  const { address, size } = place(plan(bzImage(), { initrd: { size: 5000, name: "initrd" } }), "initrd");
  expect(address).toBe(64 * 2 ** 20 - 8192);
  expect(size).toBe(5000);
});

test("an initrd's last byte is at most at initrd_addr_max", () => {
  const image = bzImage({ initrdAddrMax: 0x37ffffff });
  const initrd = { size: 131072, name: "initrd" };
  // The example of boot.rst.
  expect(place(plan(image, { initrd, memory: memoryOf(2048) }), "initrd").address).toBe(0x37fe0000);
});

test("an initrd stays below 4 GiB in a guest with more", () => {
  const image = bzImage({ initrdAddrMax: 0xffffffff });
  const boot = plan(image, { initrd: { size: 4096, name: "initrd" }, memory: memoryOf(6 * 1024) });
  expect(place(boot, "initrd").address).toBe(3 * 2 ** 30 - 4096);
});

test("an initrd goes below the kernel if that is where room is left, never into it", () => {
  const image = bzImage({ initSize: 48 * 2 ** 20 }); // from 16 MiB to the end of RAM
  const { address } = place(plan(image, { initrd: { size: 4097, name: "initrd" } }), "initrd");
  expect(address).toBe(0x1000000 - 8192);
});

test("an initrd that does not fit says how much memory would be enough, and that much is", () => {
  const image = bzImage();
  const initrd = { size: 40 * 2 ** 20, name: "root.cpio" };
  expect(() => plan(image, { initrd })).toThrow(
    "root.cpio: no room beside the kernel for an initrd of 41943040 bytes: " +
      "the guest's RAM below 4 GiB ends at 64M; 72M would be enough",
  );
  expect(() => plan(image, { initrd, memory: memoryOf(72) })).not.toThrow();
});

test("an initrd beyond initrd_addr_max says that memory does not help", () => {
  const image = bzImage({ initrdAddrMax: 0x1ffffff });
  const initrd = { size: 32 * 2 ** 20, name: "initrd" };
  expect(() => plan(image, { initrd, memory: memoryOf(1024) })).toThrow(
    "can use it only up to 0x1ffffff, and more memory would not help",
  );
});

test("a guest too small for the kernel to unpack itself says how much memory would be enough, and that much is", () => {
  const image = bzImage({ initSize: 0x3378000 }); // that of Debian's 6.1 cloud kernel
  expect(() => plan(image)).toThrow(
    "vmlinuz: the kernel unpacks itself to 0x1000000 and up to 0x4378000: " +
      "the guest's RAM below 4 GiB ends at 64M; 68M would be enough",
  );
  expect(() => plan(image, { memory: memoryOf(68) })).not.toThrow();
});

test.each([
  ["a protocol from before bzImages", bzImage({ version: 0x0103 }), "boot protocol 1.03; vmexit needs 2.00"],
  ["a zImage", bzImage({ loadflags: 0 }), "a zImage"],
  [
    "a file that ends early",
    bzImage().subarray(0, 0x1000),
    "bzImage cut off: its header gives 10752 bytes, the file has 4096",
  ],
  ["a file that ends in its header", bzImage().subarray(0, 0x240), "cut off in its setup header"],
  ["no code", bzImage({ codeLength: 0 }), "without protected-mode code"],
  ["a kernel that starts in real mode only", bzImage({ code32Start: 0 }), "which needs a BIOS"],
  ["a kernel for addresses above 4 GiB", bzImage({ prefAddress: 2n ** 40n }), "not between 1 MiB and 4 GiB"],
  [
    "a kernel for addresses below 1 MiB",
    bzImage({ prefAddress: 0x8000n, relocatable: 0 }),
    "not between 1 MiB",
  ],
])("%s is refused by name", (_, image, message) => {
  expect(() => plan(image)).toThrow(message);
});

test("an empty initrd is refused", () => {
  expect(() => plan(bzImage(), { initrd: { size: 0, name: "empty.gz" } })).toThrow(
    "empty.gz: the initrd is empty",
  );
});
