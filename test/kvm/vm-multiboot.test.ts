/** A Multiboot kernel in C, built here, on any KVM. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, type VmOptions } from "vmexit";

const SOURCE = fileURLToPath(new URL("../support/multiboot-kernel.c", import.meta.url));
/** What an i386 runs, and nothing that needs a library or a run-time. */
const TARGET = [
  "-m32",
  "-march=i386",
  "-mgeneral-regs-only",
  "-mno-sse",
  "-mno-mmx",
  "-O1",
  "-Wall",
  "-Werror",
];
const FREESTANDING = [
  ...["-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-fno-stack-protector"],
  "-fno-asynchronous-unwind-tables",
];
const AT_1_MIB = ["-Wl,-n", "-Wl,-Ttext=0x100000", "-Wl,--build-id=none"];

let folder = "";
let elf = "";
/** The same code as a flat file that only its header knows how to load. */
let flat = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-multiboot-"));
  elf = join(folder, "kernel.elf");
  flat = join(folder, "kernel.bin");
  const build = (output: string, ...more: string[]) =>
    execFileSync("gcc", [...TARGET, ...FREESTANDING, ...AT_1_MIB, ...more, "-o", output, SOURCE], {
      stdio: "pipe", // what the compiler says is in the error, if it is one
    });
  build(elf);
  build(flat, "-DADDRESSES", "-Wl,--oformat=binary");
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the kernel to its end; its status is 1 if it found the machine as the specification says. */
async function run(kernel: string | Uint8Array, more: Partial<VmOptions> = {}) {
  await using vm = await createVm({ memory: "16M", kernel, ...more });
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = new Promise((resolve) => vm.serial.once("end", resolve));
  await vm.start();
  const ending = await vm.exited;
  await closed;
  return { ending, lines: Buffer.concat(chunks).toString().trimEnd().split("\n") };
}

const MEMORY_OF_16_MIB = [
  "lower 00000280",
  "upper 00003c00",
  "range 0000000000000000 00000000000a0000 1",
  "range 00000000000a0000 0000000000060000 2",
  "range 0000000000100000 0000000000f00000 1",
];

test("an ELF kernel is told its command line, its memory and its module, and ends the machine with a status", async () => {
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
