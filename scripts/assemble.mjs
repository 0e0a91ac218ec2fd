/**
 * Assembles the guests of the demos: from examples/demos/ into dist/demos/, what
 * is older than its source.
 *
 *   node scripts/assemble.mjs
 *
 * NAME.s becomes NAME.bin, one flat image as examples/demos/guest.ld lays it out,
 * and NAME.json beside it: { origin, symbols, source } as examples/demos/guest.ts
 * reads them. NAME.c with NAME.s is a 32-bit Multiboot kernel and becomes NAME.elf.
 *
 * Needs GNU binutils, and gcc for the kernel.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { main } from "./setup.mjs";

const sources = fileURLToPath(new URL("../examples/demos/", import.meta.url));
const made = fileURLToPath(new URL("../dist/demos/", import.meta.url));
const layout = join(sources, "guest.ld");

/** Where a Multiboot kernel is linked for: by custom the first address above what a PC's firmware uses. */
const KERNEL_ADDRESS = "0x100000";

/** A kernel has no C library, no position to be independent of, and nobody to unwind its stack. */
const FREESTANDING = [
  "-m32",
  "-march=i686",
  "-O2",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-ffreestanding",
  "-fno-pic",
  "-fno-stack-protector",
  "-fno-asynchronous-unwind-tables",
  "-mgeneral-regs-only",
];

/** Runs a tool and returns what it prints; throws with its complaint if it fails. */
function tool(name, ...args) {
  const { status, stdout, stderr, error } = spawnSync(name, args, { cwd: sources, encoding: "utf8" });
  if (error !== undefined) throw new Error(`${name} does not start: ${error.message}`);
  if (status !== 0) throw new Error(`this failed: ${name} ${args.join(" ")}\n${stderr}`);
  return stdout;
}

function flatGuest(name, work) {
  const file = (extension) => join(work, `${name}.${extension}`);
  tool("as", "--fatal-warnings", "-g", "-o", file("o"), `${name}.s`);
  tool("ld", "-T", layout, "-o", file("elf"), file("o"));
  tool("objcopy", "-O", "binary", "-j", ".image", file("elf"), file("bin"));
  const listing = {
    origin: imageAddress(file("elf")),
    symbols: symbols(file("elf")),
    source: source(name, file("elf")),
  };
  writeFileSync(file("json"), `${JSON.stringify(listing, null, 1)}\n`);
}

/** From `objdump -h`: index, name, size, VMA … */
function imageAddress(elf) {
  const [, address] = /\s\.image\s+[0-9a-f]+\s+([0-9a-f]+)/.exec(tool("objdump", "-h", elf)) ?? [];
  return Number.parseInt(address, 16);
}

/** Labels and constants, from lines such as `0000000000001002 t next`. */
function symbols(elf) {
  const lines = tool("nm", "-n", elf).matchAll(/^([0-9a-f]+) [aAbBdDrRtT] (\S+)$/gm);
  return Object.fromEntries(Array.from(lines, ([, value, name]) => [name, Number.parseInt(value, 16)]));
}

/** Source text by address, without comments, from lines such as `hello.s  16  0x1000  x`. */
function source(name, elf) {
  const text = readFileSync(join(sources, `${name}.s`), "utf8").split("\n");
  const lines = tool("objdump", "--dwarf=decodedline", elf).matchAll(/^\S+\.s\s+(\d+)\s+(0x[0-9a-f]+)/gm);
  return Object.fromEntries(
    Array.from(lines, ([, line, address]) => [
      Number(address),
      text[line - 1].replace(/\s#.*/, "").replace(/^\w+:/, "").trim().replace(/\s+/g, " "),
    ]),
  );
}

function kernel(name, work) {
  const file = (extension) => join(work, `${name}.${extension}`);
  tool("as", "--fatal-warnings", "--32", "-g", "-o", file("s.o"), `${name}.s`);
  tool("gcc", ...FREESTANDING, "-g", "-c", "-o", file("c.o"), `${name}.c`);
  const options = [
    "-m",
    "elf_i386",
    "--build-id=none",
    "-n", // no page with the file's headers below the kernel, where a PC has no memory
    "-z",
    "noexecstack",
    "-Ttext",
    KERNEL_ADDRESS,
    "-e",
    "start",
  ];
  tool("ld", ...options, "-o", file("elf"), file("s.o"), file("c.o"));
}

const time = (path) => statSync(path).mtimeMs;

function assembleAll() {
  const names = readdirSync(sources)
    .filter((file) => file.endsWith(".s"))
    .map((file) => file.slice(0, -2));
  for (const name of names) {
    const inC = existsSync(join(sources, `${name}.c`));
    const results = inC ? [`${name}.elf`] : [`${name}.json`, `${name}.bin`];
    const assembly = join(sources, `${name}.s`);
    const from = [assembly, inC ? join(sources, `${name}.c`) : layout, fileURLToPath(import.meta.url)];
    const newest = Math.max(...from.map(time));
    const isNew = (result) => existsSync(join(made, result)) && time(join(made, result)) > newest;
    if (!results.every(isNew)) assemble(name, inC ? kernel : flatGuest, results);
  }
}

function assemble(name, make, results) {
  const work = mkdtempSync(join(tmpdir(), "vmexit-assemble-"));
  try {
    make(name, work);
    mkdirSync(made, { recursive: true });
    for (const result of results) {
      // Renamed, so that a demo that starts now finds either the old file or the new one.
      writeFileSync(join(made, `${result}.new`), readFileSync(join(work, result)));
      renameSync(join(made, `${result}.new`), join(made, result));
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

await main("assemble", async () => assembleAll());
