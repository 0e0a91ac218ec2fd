import { expect, test } from "vitest";
import { pcMemoryMap } from "../../../src/boot/e820.ts";
import { planBoot } from "../../../src/boot/kernel.ts";
import type { BootPlan, MemoryRange } from "../../../src/boot/plan.ts";
import type { BootRequest } from "../../../src/boot/request.ts";
import { bootRequest, elf, madeBytes, memoryOf, vmlinux } from "../../support/boot-images.ts";
import {
  type AddressFields,
  addressedKernel,
  elf32,
  elfKernel,
  multibootHeader,
} from "../../support/multiboot-images.ts";

const MIB = 2 ** 20;
const INFO = 0x9000;

const plan = (kernel: Uint8Array, more: Partial<BootRequest> = {}) => planBoot(bootRequest(kernel, more));
const addressed = (fields: AddressFields) => () => plan(addressedKernel(fields));
const placed = (boot: BootPlan, what: string) => boot.placements.find((placement) => placement.what === what);
const infoOf = (boot: BootPlan) => madeBytes(boot.placements, "Multiboot information");

/** The string at a guest-physical address. */
function stringAt(boot: BootPlan, address: number): string {
  const { buffer, byteOffset, byteLength } = madeBytes(boot.placements, "command line");
  const bytes = new Uint8Array(buffer, byteOffset, byteLength).subarray(address - 0x10000);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

test("an ELF kernel goes where its segments say and starts in protected mode with the magic number and the information", () => {
  const boot = plan(elfKernel());
  expect(boot.protocol).toBe("Multiboot");
  expect(boot.placements.slice(0, 2)).toEqual([
    {
      what: "ELF segment 0",
      address: 0x100000,
      size: 0x800,
      data: { file: "kernel", offset: 52 + 2 * 32, length: 0x800 },
    },
    {
      what: "ELF segment 1",
      address: 0x102000,
      size: 0x1234,
      data: { file: "kernel", offset: 52 + 2 * 32 + 0x800, length: 0x100 },
    },
  ]);
  expect(boot.entry).toEqual({
    mode: "protected32",
    rip: 0x100010,
    registers: { rax: 0x2badb002, rbx: INFO },
  });
});

test("a kernel linked for high addresses starts at the physical address of its entry", () => {
  const bytes = new Uint8Array(64);
  bytes.set(multibootHeader(0));
  const segment = { virtualAddress: 0xc0100000, physicalAddress: 0x100000, bytes };
  expect(plan(elf32([segment], 0xc0100010)).entry.rip).toBe(0x100010);
  expect(plan(elf32([segment], 0x100010)).entry.rip).toBe(0x100010); // and if it gives that one itself
});

test("load addresses in the header place the file from load_addr on, with bss behind it", () => {
  const boot = plan(addressedKernel({ load: 0x200000, loadEnd: 0x200800, bssEnd: 0x209000 }));
  expect(placed(boot, "kernel")).toEqual({
    what: "kernel",
    address: 0x200000,
    size: 0x9000,
    data: { file: "kernel", offset: 0, length: 0x800 },
  });
  expect(boot.entry.rip).toBe(0x200040);
});

test("what lies before load_addr in the file is not loaded, and without load_end_addr all the rest is", () => {
  const boot = plan(addressedKernel({ header: 0x100010, load: 0x100000 }, { offset: 0x50 }));
  expect(placed(boot, "kernel")).toMatchObject({
    address: 0x100000,
    size: 0x1000 - 0x40,
    data: { offset: 0x40, length: 0x1000 - 0x40 },
  });
});

test("load addresses count before what an ELF file says, also of a 64-bit one", () => {
  for (const image of [elfKernel(), vmlinux()]) {
    image.set(multibootHeader(0x10000, 0x300200, 0x300200, 0x300400, 0, 0x300220), 0x200);
    if (image[4] === 1) image.fill(0, 52 + 2 * 32, 52 + 2 * 32 + 12); // the header of elfKernel itself
    const boot = plan(image);
    expect(boot.entry.rip).toBe(0x300220);
    expect(placed(boot, "kernel")).toMatchObject({ address: 0x300200, size: 0x200 });
  }
});

test("the header is found on any multiple of 4 up to the end of the first 8192 bytes, and nowhere else", () => {
  const at = (offset: number) => () => plan(addressedKernel({}, { offset, size: 0x4000 }));
  expect(at(0)).not.toThrow();
  expect(at(8192 - 32)).not.toThrow();
  for (const offset of [2, 8192 - 28, 8192]) {
    expect(at(offset)).toThrow("Multiboot: no header in the first 8192 bytes");
  }
});

test("a magic number without a valid checksum is not a header, and does not hide the one behind it", () => {
  const kernel = addressedKernel({}, { offset: 0x100 });
  kernel.set(multibootHeader(0).subarray(0, 8), 0x40);
  expect(plan(kernel).protocol).toBe("Multiboot");
  kernel[0x108] ^= 1;
  expect(() => plan(kernel)).toThrow("not a boot image that vmexit supports");
});

test("the command line is the kernel's path and the user's text, and the loader says its name", () => {
  const boot = plan(elfKernel(), { kernelPath: "/boot/kernel.elf", cmdline: "a=1 b" });
  const info = infoOf(boot);
  expect(info.getUint32(0, true)).toBe(0b10_0100_1101); // flags: memory, cmdline, mods, mmap, boot_loader_name
  expect(stringAt(boot, info.getUint32(16, true))).toBe("/boot/kernel.elf a=1 b");
  expect(stringAt(boot, info.getUint32(64, true))).toBe("vmexit");
});

test("a kernel given as bytes is called kernel, and its module initrd", () => {
  const boot = plan(elfKernel(), { cmdline: "", initrd: { size: 1, name: "(given as bytes)" } });
  const info = infoOf(boot);
  expect(stringAt(boot, info.getUint32(16, true))).toBe("kernel ");
  expect(stringAt(boot, info.getUint32(info.getUint32(24, true) - INFO + 8, true))).toBe("initrd");
});

test("a path may have any characters; a command line that a guest would not get as written is refused", () => {
  const boot = plan(elfKernel(), { kernelPath: "/home/jürgen/核.elf" });
  expect(stringAt(boot, infoOf(boot).getUint32(16, true))).toBe("/home/jürgen/核.elf console=ttyS0");
  expect(() => plan(elfKernel(), { cmdline: "größe=1" })).toThrow("is not ASCII");
  expect(() => plan(elfKernel(), { cmdline: "a\0b" })).toThrow("a NUL at character 2");
});

test("64 KiB of strings fit, a byte more is refused and not cut off", () => {
  const others = "kernel ".length + 1 + "vmexit".length + 1;
  const room = 0x10000 - others;
  expect(() => plan(elfKernel(), { cmdline: "x".repeat(room) })).not.toThrow();
  for (const length of [room + 1, 0x10001]) {
    expect(() => plan(elfKernel(), { cmdline: "x".repeat(length) })).toThrow(
      /^command line: .*(gets|accepts) at most 65536$/,
    );
  }
});

test("the initrd is a module on the first free page behind the kernel, with its path as its string", () => {
  const boot = plan(elfKernel(), { initrd: { size: 5001, name: "m", path: "disk.img" } });
  const info = infoOf(boot);
  expect(placed(boot, "initrd")).toEqual({
    what: "initrd",
    address: 0x104000, // bss ends at 0x103234
    size: 5001,
    data: { file: "initrd", offset: 0, length: 5001 },
  });
  expect(info.getUint32(20, true)).toBe(1); // mods_count
  const module = info.getUint32(24, true) - INFO;
  expect(info.getUint32(module, true)).toBe(0x104000);
  expect(info.getUint32(module + 4, true)).toBe(0x104000 + 5001);
  expect(stringAt(boot, info.getUint32(module + 8, true))).toBe("disk.img");
});

test("without an initrd there is no module", () => {
  expect(infoOf(plan(elfKernel())).getUint32(20, true)).toBe(0);
});

test("a module with no room behind the kernel goes below it", () => {
  const high = addressedKernel({ load: 15 * MIB, bssEnd: 16 * MIB });
  const boot = plan(high, { initrd: { size: MIB, name: "m" }, memory: memoryOf(16) });
  expect(placed(boot, "initrd")?.address).toBe(14 * MIB);
});

test("a module for which there is no room says how much memory would be enough, and that much is", () => {
  const initrd = { size: 16 * MIB, name: "big.img" };
  expect(() => plan(elfKernel(), { initrd, memory: memoryOf(16) })).toThrow(
    "big.img: no room beside the kernel for a module of 16777216 bytes: the guest's RAM below 4 GiB ends at 16M; 18M would be enough",
  );
  expect(() => plan(elfKernel(), { initrd, memory: memoryOf(18) })).not.toThrow();
  expect(() => plan(elfKernel(), { initrd: { size: 0, name: "m" } })).toThrow("m: the initrd is empty");
});

/** The memory map of the information structure. */
function mapOf(info: DataView): [address: bigint, size: bigint, type: number][] {
  const start = info.getUint32(48, true) - INFO;
  const end = start + info.getUint32(44, true);
  const entries: [bigint, bigint, number][] = [];
  // An entry's size does not count the field itself.
  for (let at = start; at < end; at += info.getUint32(at, true) + 4) {
    entries.push([
      info.getBigUint64(at + 4, true),
      info.getBigUint64(at + 12, true),
      info.getUint32(at + 20, true),
    ]);
  }
  return entries;
}

test("memory is described as KiB below and above 1 MiB, and as a map", () => {
  const info = infoOf(plan(elfKernel(), { memory: memoryOf(64) }));
  expect(info.getUint32(4, true)).toBe(639);
  expect(info.getUint32(8, true)).toBe(63 * 1024);
  expect(mapOf(info)).toEqual([
    [0n, 0x9fc00n, 1],
    [0x9fc00n, 0x60400n, 2],
    [0x100000n, 63n << 20n, 1],
  ]);
});

test("upper memory ends at the device hole, and the map goes on above 4 GiB", () => {
  const info = infoOf(plan(elfKernel(), { memory: memoryOf(5 * 1024) }));
  expect(info.getUint32(8, true)).toBe(3 * 1024 * 1024 - 1024);
  expect(mapOf(info).at(-1)).toEqual([1n << 32n, 2n << 30n, 1]);
});

test("the largest memory map fits", () => {
  const many = Array.from({ length: 125 }, (_, i) => ({ address: 2 ** 33 + i * 8192, size: 4096 }));
  const boot = plan(elfKernel(), { memory: pcMemoryMap([{ address: 0, size: 64 * MIB }, ...many]) });
  expect(mapOf(infoOf(boot))).toHaveLength(128);
  expect(infoOf(boot).byteLength).toBeLessThanOrEqual(4096);
});

test("a kernel that asks for a video mode starts without one and can see that", () => {
  const info = infoOf(plan(elfKernel({ flags: 7 })));
  expect(info.getUint32(0, true) >>> 11).toBe(0); // neither vbe nor framebuffer fields
});

test("a requirement that the specification does not know is refused, an option is not", () => {
  expect(() => plan(elfKernel({ flags: 0x4008 }))).toThrow("vmlinuz: its Multiboot header requires 0x4008");
  expect(() => plan(elfKernel({ flags: 0x80020000 }))).not.toThrow();
});

test("load addresses that contradict each other or the file are refused", () => {
  expect(addressed({ header: 0xff000 })).toThrow("load_addr 0x100000 is above header_addr 0xff000");
  expect(addressed({ header: 0x100021 })).toThrow(
    "load_addr 0x100000 is 1 bytes before the start of the file",
  );
  expect(addressed({ loadEnd: 0x100000 })).toThrow("load_end_addr 0x100000 is not above load_addr 0x100000");
  expect(addressed({ loadEnd: 0x101001 })).toThrow("gives 4097 bytes, the file has 4096");
  expect(addressed({ bssEnd: 0x100fff })).toThrow("bss_end_addr 0x100fff is below load_end_addr 0x101000");
  expect(addressed({ entry: 0x101000 })).toThrow("entry_addr 0x101000 is in none of the file's segments");
});

test("a kernel in the boot data, in the PC's hole or beyond RAM is refused", () => {
  expect(addressed({ load: 0x1f000 })).toThrow("kernel at 0x1f000 overlaps the boot data of vmexit");
  expect(addressed({ load: 0xb8000 })).toThrow("kernel (0xb8000 to 0xb9000) is not in RAM");
  expect(addressed({ load: 64 * MIB })).toThrow("65M would be enough to start it");
  expect(addressed({ load: 0xfffff800 })).toThrow("more memory would not help");
  expect(addressed({ bssEnd: 0xffffffff })).toThrow("kernel occupies 0x100000 to 0xffffffff");
});

test("a guest without the low memory that boot data takes is refused", () => {
  const memory: MemoryRange[] = [{ address: MIB, size: 16 * MIB, type: "ram" }];
  expect(() => plan(elfKernel(), { memory })).toThrow("needs RAM below 640 KiB");
});

test("a header without load addresses in a file that is not an ELF file for x86 says what is missing", () => {
  const arm = elfKernel();
  arm[18] = 40;
  expect(() => plan(arm)).toThrow(
    "must be an ELF file for x86: an ELF file, but not a 32-bit one for x86 or a 64-bit one for x86-64",
  );
  expect(() => plan(multibootHeader(0))).toThrow("gives no load addresses (flag 16)");
});

test("a 64-bit ELF kernel with a Multiboot header is started by its PVH entry, or else by e_entry, as GRUB does", () => {
  const both = vmlinux();
  both.set(multibootHeader(0), 0x200);
  expect(plan(both).protocol).toBe("PVH");
  const bytes = new Uint8Array(64);
  bytes.set(multibootHeader(0));
  const image = elf([{ type: 1, physicalAddress: 0x100000, bytes }], 0x100020);
  expect(plan(image)).toMatchObject({ protocol: "Multiboot", entry: { mode: "protected32", rip: 0x100020 } });
});

test("segments that overlap are refused", () => {
  const bytes = new Uint8Array(0x100);
  bytes.set(multibootHeader(0));
  const image = elf32(
    [
      { physicalAddress: 0x100000, bytes },
      { physicalAddress: 0x1000ff, bytes },
    ],
    0x100000,
  );
  expect(() => plan(image)).toThrow("overlaps ELF segment 1");
});
