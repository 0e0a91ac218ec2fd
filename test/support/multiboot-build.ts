/** Builds test/support/multiboot-kernel.c: for what an i386 runs, and nothing that needs a library or a run-time. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("multiboot-kernel.c", import.meta.url));
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

/** An ELF file, unless `more` asks the compiler for something else. */
export function buildMultiboot(output: string, ...more: string[]): void {
  execFileSync("gcc", [...TARGET, ...FREESTANDING, ...AT_1_MIB, ...more, "-o", output, SOURCE], {
    stdio: "pipe", // what the compiler says is in the error, if it is one
  });
}
