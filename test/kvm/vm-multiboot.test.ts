/** A Multiboot kernel in C, built here, on any KVM. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, type VmOptions } from "vmexit";
import { buildMultiboot } from "../support/multiboot-build.ts";
import { printed } from "../support/printed.ts";

let folder = "";
let elf = "";
/** The same code as a flat file that only its header knows how to load. */
let flat = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-multiboot-"));
  elf = join(folder, "kernel.elf");
  flat = join(folder, "kernel.bin");
  buildMultiboot(elf);
  buildMultiboot(flat, "-DADDRESSES", "-Wl,--oformat=binary");
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the kernel to its end; its status is 1 if it found the machine as the specification says. */
async function run(kernel: string | Uint8Array, more: Partial<VmOptions> = {}) {
  await using vm = await createVm({ memory: "16M", kernel, ...more });
  const output = printed(vm);
  await vm.start();
  const ending = await vm.exited;
  return { ending, lines: (await output).toString().trimEnd().split("\n") };
}

const MEMORY_OF_16_MIB = [
  "lower 0000027f",
  "upper 00003c00",
  "range 0000000000000000 000000000009fc00 1",
  "range 000000000009fc00 0000000000060400 2",
  "range 0000000000100000 0000000000f00000 1",
];

test("an ELF kernel gets its command line, its memory map and its module, and ends the machine with a status", async () => {
  const module = join(folder, "module.txt");
  writeFileSync(module, `${"much ".repeat(2000)}text`);
  const { ending, lines } = await run(elf, { initrd: module, cmdline: "root=none quiet" });
  expect(lines).toEqual([
    "magic 2badb002",
    "flags 0000024d",
    "loader vmexit",
    `cmdline ${elf} root=none quiet`,
    ...MEMORY_OF_16_MIB,
    `module ${module}: ${"much ".repeat(2000)}text`,
    "done",
  ]);
  expect(ending).toMatchObject({ reason: "exit", status: 1 });
});

test("a kernel whose header says where to load it runs the same, also from bytes", async () => {
  const { ending, lines } = await run(readFileSync(flat), {
    initrd: Buffer.from("of bytes"),
    cmdline: "a=b",
  });
  expect(lines).toEqual([
    "magic 2badb002",
    "flags 0000024d",
    "loader vmexit",
    "cmdline kernel a=b",
    ...MEMORY_OF_16_MIB,
    "module initrd: of bytes",
    "done",
  ]);
  expect(ending).toMatchObject({ reason: "exit", status: 1 });
});

test("a reset loads the kernel anew, with its data as in the file", async () => {
  await using vm = await createVm({ memory: "16M", kernel: elf, cmdline: "wait" });
  await vm.start();
  await vm.serial.waitFor("done\n");
  await vm.reset();
  await vm.serial.waitFor("done\n");
  vm.serial.write("x");
  expect(await vm.exited).toMatchObject({ reason: "exit", status: 1 });
});

test("a kernel that cannot be loaded is refused before the machine exists", async () => {
  const cut = readFileSync(elf).subarray(0, 0x300);
  await expect(createVm({ memory: "16M", kernel: cut })).rejects.toMatchObject({ code: "EBOOT" });
  await expect(createVm({ memory: "1M", kernel: elf })).rejects.toMatchObject({
    code: "EBOOT",
    message: expect.stringContaining("2M would be enough to start it"),
  });
});
