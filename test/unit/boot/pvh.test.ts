import { expect, test } from "vitest";
import { planBoot } from "../../../src/boot/kernel.ts";
import { bootRequest, elf, madeBytes, memoryOf, note, vmlinux } from "../../support/boot-images.ts";
import { elf32, multibootHeader } from "../../support/multiboot-images.ts";

const START_INFO = 0x9000;
const entryNote = (entry: number) => note("Xen", 18, new Uint8Array(new Uint32Array([entry]).buffer));

test("segments go to their physical addresses with their bss, and the CPU starts at the note's entry", () => {
  const boot = planBoot(bootRequest(vmlinux(0x1000040)));
  expect(boot.placements.slice(0, 2)).toEqual([
    {
      what: "ELF segment 0",
      address: 0x1000000,
      size: 0x1000,
      data: { file: "kernel", offset: 64 + 3 * 56, length: 0x1000 },
    },
    {
      what: "ELF segment 1",
      address: 0x1200000,
      size: 0x200000,
      data: { file: "kernel", offset: 64 + 3 * 56 + 0x1000, length: 0x100 },
    },
  ]);
  expect(boot.entry).toEqual({ mode: "protected32", rip: 0x1000040, registers: { rbx: START_INFO } });
});

test("hvm_start_info leads to the initrd, the command line, the ACPI tables and the memory map", () => {
  const boot = planBoot(bootRequest(vmlinux(), { initrd: { size: 5000, name: "initrd" }, rsdp: 0xe0000 }));
  const at = (what: string) => boot.placements.find((placement) => placement.what === what)?.address ?? -1;
  const info = madeBytes(boot.placements, "PVH start info");
  expect(info.getUint32(0, true)).toBe(0x336ec578);
  expect(info.getUint32(4, true)).toBe(1); // version
  expect(info.getUint32(12, true)).toBe(1); // nr_modules
  const modlist = Number(info.getBigUint64(16, true)) - START_INFO;
  expect(info.getBigUint64(modlist, true)).toBe(BigInt(at("initrd")));
  expect(info.getBigUint64(modlist + 8, true)).toBe(5000n);
  expect(info.getBigUint64(24, true)).toBe(BigInt(at("command line")));
  expect(info.getBigUint64(32, true)).toBe(0xe0000n);
  const memmap = Number(info.getBigUint64(40, true)) - START_INFO;
  expect(info.getUint32(48, true)).toBe(3);
  const third = memmap + 2 * 24;
  expect(info.getBigUint64(third, true)).toBe(0x100000n);
  expect(info.getBigUint64(third + 8, true)).toBe(63n << 20n);
  expect(info.getUint32(third + 16, true)).toBe(1);
  expect(third + 24).toBe(info.byteLength);
});

test("without an initrd there is no module", () => {
  const info = madeBytes(planBoot(bootRequest(vmlinux())).placements, "PVH start info");
  expect(info.getUint32(12, true)).toBe(0);
  expect(info.getBigUint64(16, true)).toBe(0n);
});

test("an initrd keeps clear of bss, which the file does not show", () => {
  const boot = planBoot(
    bootRequest(vmlinux(), { initrd: { size: 0xc00000, name: "initrd" }, memory: memoryOf(33) }),
  );
  expect(boot.placements.find(({ what }) => what === "initrd")?.address).toBe(33 * 2 ** 20 - 0xc00000);
  expect(() =>
    planBoot(bootRequest(vmlinux(), { initrd: { size: 0xd00001, name: "initrd" }, memory: memoryOf(20) })),
  ).not.toThrow(); // there is room below 16 MiB
  expect(() =>
    planBoot(bootRequest(vmlinux(), { initrd: { size: 0x1000000, name: "initrd" }, memory: memoryOf(33) })),
  ).toThrow("ends at 33M; 36M would be enough");
});

test("the entry note is found among others, with 4 or 8 bytes and either padding", () => {
  const text = { type: 1, physicalAddress: 0x100000, bytes: new Uint8Array(64) };
  const others = [
    ...note("GNU", 3, new Uint8Array(20)),
    ...note("Xen", 6, new TextEncoder().encode("linux\0")),
  ];
  const image = elf([text, { type: 4, bytes: new Uint8Array([...others, ...entryNote(0x100010)]) }]);
  expect(planBoot(bootRequest(image)).entry.rip).toBe(0x100010);

  const padded = new Uint8Array(48);
  padded.set(note("Xen", 6, new Uint8Array(4))); // 20 bytes, the next one is at 24
  padded.set(entryNote(0x100020), 24);
  const by8 = elf([text, { type: 4, bytes: padded, alignment: 8 }]);
  expect(planBoot(bootRequest(by8)).entry.rip).toBe(0x100020);
});

test("an ELF file without the note says what to do", () => {
  const image = elf([{ type: 1, physicalAddress: 0x100000, bytes: new Uint8Array(64) }]);
  expect(() => planBoot(bootRequest(image))).toThrow(
    /without a PVH entry.*CONFIG_PVH=y, else use the bzImage/,
  );
});

test("a segment in the boot data, or over another, is refused rather than overwritten", () => {
  const notes = { type: 4, bytes: entryNote(0x100000) };
  const text = { type: 1, physicalAddress: 0x100000, bytes: new Uint8Array(0x2000) };
  const low = { type: 1, physicalAddress: 0x1000, bytes: new Uint8Array(64) };
  expect(() => planBoot(bootRequest(elf([text, low, notes])))).toThrow("overlaps the boot data of vmexit");
  const over = { type: 1, physicalAddress: 0x101000, bytes: new Uint8Array(64) };
  expect(() => planBoot(bootRequest(elf([text, over, notes])))).toThrow("overlaps ELF segment 1");
});

test("a guest too small for its segments says how much memory would be enough, and that much is", () => {
  expect(() => planBoot(bootRequest(vmlinux(), { memory: memoryOf(16) }))).toThrow("20M would be enough");
  expect(() => planBoot(bootRequest(vmlinux(), { memory: memoryOf(20) }))).not.toThrow();
});

test("an entry outside every segment is refused", () => {
  expect(() => planBoot(bootRequest(vmlinux(0x2000000)))).toThrow("entry 0x2000000 is in none");
});

test("an ELF file for another machine is refused", () => {
  const arm = vmlinux();
  arm[18] = 183;
  expect(() => planBoot(bootRequest(arm))).toThrow("not a 64-bit one for x86-64 or a 32-bit one for x86");
});

// Debian's xen-shim and grub-i386-xen_pvh.bin are such files.
test("a 32-bit ELF file starts by its PVH entry, also one of the x32 ABI", () => {
  const segments = [
    { physicalAddress: 0x100000, bytes: new Uint8Array(64) },
    { type: 4, physicalAddress: 0, bytes: entryNote(0x100010) },
  ];
  const image = elf32(segments, 0x100000);
  const expected = { mode: "protected32", rip: 0x100010, registers: { rbx: START_INFO } };
  expect(planBoot(bootRequest(image))).toMatchObject({ protocol: "PVH", entry: expected });
  image[18] = 62; // EM_X86_64
  expect(planBoot(bootRequest(image)).protocol).toBe("PVH");
});

test("notes of 4-byte alignment are found behind a property note of 8 in the same segment", () => {
  const property = note("GNU", 5, new Uint8Array(16));
  const notes = [...property, ...note("Xen", 6, new Uint8Array(4)), ...entryNote(0x100030)];
  const image = elf([
    { type: 1, physicalAddress: 0x100000, bytes: new Uint8Array(64) },
    { type: 4, bytes: new Uint8Array(notes), alignment: 8 },
  ]);
  expect(planBoot(bootRequest(image)).entry.rip).toBe(0x100030);
});

test("a note segment beyond the end of the file only counts as a note that is not there", () => {
  const segments = [
    { physicalAddress: 0x100000, bytes: multibootHeader(0) },
    { type: 4, physicalAddress: 0, bytes: entryNote(0x100000) },
  ];
  const image = elf32(segments, 0x100000);
  expect(planBoot(bootRequest(image.subarray(0, image.length - 8))).protocol).toBe("Multiboot");
});
