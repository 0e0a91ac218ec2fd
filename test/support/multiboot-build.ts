/** Builds the kernels in C of this folder: code for an i386, without a library or a run-time. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

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

/** multiboot-kernel.c as an ELF file, unless the options `more` change that. */
export function buildMultiboot(output: string, ...more: string[]): void {
  buildKernel("multiboot-kernel.c", output, ...more);
}

export function buildKernel(source: string, output: string, ...more: string[]): void {
  const path = fileURLToPath(new URL(source, import.meta.url));
  execFileSync("gcc", [...TARGET, ...FREESTANDING, ...AT_1_MIB, ...more, "-o", output, path], {
    stdio: "pipe", // an error contains the compiler's messages
  });
}
