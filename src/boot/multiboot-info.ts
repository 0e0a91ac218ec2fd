/**
 * The information for a Multiboot kernel: the Multiboot information structure, the
 * list of modules, the memory map, and the strings that they point at.
 *
 * Source: Multiboot Specification 0.6.96, 3.3 "Boot information format"; field
 * names are the specification's. As in QEMU, the command line starts with the
 * kernel's name.
 *
 * Left out, their flags clear: boot_device (no BIOS disk), symbols, drives, the
 * BIOS configuration table, APM, and all about video.
 */
import { KIB } from "../base/units.ts";
import { encodeCmdline } from "./cmdline.ts";
import { e820Entries } from "./e820.ts";
import { CMDLINE, MULTIBOOT_INFO, ONE_MIB, PC_HOLE } from "./low-memory.ts";
import { BootError, type Placement } from "./plan.ts";
import type { Ram, Range } from "./ram.ts";
import type { BootRequest } from "./request.ts";

const BOOT_LOADER_NAME = "vmexit";
/** Names of a kernel and an initrd that the program gave as bytes. */
const NAMELESS = { kernel: "kernel", initrd: "initrd" };

// The information structure
const FLAGS = 0;
const MEM_LOWER = 4; // KiB from 0 on
const MEM_UPPER = 8; // KiB from 1 MiB on
const CMDLINE_ADDR = 16;
const MODS_COUNT = 20;
const MODS_ADDR = 24;
const MMAP_LENGTH = 44; // in bytes
const MMAP_ADDR = 48;
const BOOT_LOADER_NAME_ADDR = 64;
const INFO_SIZE = 120; // to the end of the framebuffer fields

const FLAG_MEMORY = 1 << 0;
const FLAG_CMDLINE = 1 << 2;
const FLAG_MODS = 1 << 3;
const FLAG_MMAP = 1 << 6;
const FLAG_BOOT_LOADER_NAME = 1 << 9;

// A module
const MOD_START = 0;
const MOD_END = 4; // the first byte behind it
const MOD_STRING = 8;
const MODULE_SIZE = 16;

// An entry of the memory map. `size` does not count itself.
const MMAP_SIZE = 0;
const MMAP_BASE = 4; // u64
const MMAP_BYTES = 12; // u64
const MMAP_TYPE = 20;
const MMAP_ENTRY_SIZE = 24;

/** @throws {BootError} for strings that are too long or that the guest would not get as they were written. */
export function placeMultibootInfo(request: BootRequest, ram: Ram, module: Range | undefined): Placement[] {
  const strings = new Strings(request.kernelName);
  const path = new TextEncoder().encode(`${request.kernelPath ?? NAMELESS.kernel} `);
  const cmdline = strings.add(path, encodeCmdline(request.cmdline, CMDLINE.size, request.kernelName));
  const loader = strings.add(new TextEncoder().encode(BOOT_LOADER_NAME));

  const entries = e820Entries(request.memory);
  const mods = INFO_SIZE;
  const mmap = mods + MODULE_SIZE;
  const bytes = new Uint8Array(mmap + entries.length * MMAP_ENTRY_SIZE);
  const data = new DataView(bytes.buffer);
  const put = (offset: number, value: number) => data.setUint32(offset, value, true);

  put(FLAGS, FLAG_MEMORY | FLAG_CMDLINE | FLAG_MODS | FLAG_MMAP | FLAG_BOOT_LOADER_NAME);
  put(MEM_LOWER, Math.floor(Math.min(ram.endAt(0), PC_HOLE.address) / KIB));
  put(MEM_UPPER, Math.floor((ram.endAt(ONE_MIB) - ONE_MIB) / KIB));
  put(CMDLINE_ADDR, cmdline);
  put(BOOT_LOADER_NAME_ADDR, loader);

  put(MODS_ADDR, MULTIBOOT_INFO.address + mods);
  if (module !== undefined) {
    put(MODS_COUNT, 1);
    put(mods + MOD_START, module.address);
    put(mods + MOD_END, module.address + module.size);
    put(mods + MOD_STRING, strings.add(new TextEncoder().encode(request.initrd?.path ?? NAMELESS.initrd)));
  }

  put(MMAP_ADDR, MULTIBOOT_INFO.address + mmap);
  put(MMAP_LENGTH, entries.length * MMAP_ENTRY_SIZE);
  entries.forEach(({ address, size, type }, i) => {
    const entry = mmap + i * MMAP_ENTRY_SIZE;
    put(entry + MMAP_SIZE, MMAP_ENTRY_SIZE - 4);
    data.setBigUint64(entry + MMAP_BASE, BigInt(address), true);
    data.setBigUint64(entry + MMAP_BYTES, BigInt(size), true);
    put(entry + MMAP_TYPE, type);
  });
  const info = {
    what: MULTIBOOT_INFO.what,
    address: MULTIBOOT_INFO.address,
    size: bytes.length,
    data: bytes,
  };
  return [info, strings.placement];
}

/** Strings in sequence, each with a terminating zero, where other kernels have their command line. */
class Strings {
  readonly #bytes: number[] = [];
  readonly #kernelName: string;

  constructor(kernelName: string) {
    this.#kernelName = kernelName;
  }

  /** Adds the parts as one string. @returns its guest-physical address */
  add(...parts: Uint8Array[]): number {
    const address = CMDLINE.address + this.#bytes.length;
    for (const part of parts) for (const byte of part) this.#bytes.push(byte);
    this.#bytes.push(0);
    if (this.#bytes.length > CMDLINE.size) {
      throw new BootError(
        `command line: with the names of files it has ${this.#bytes.length} characters; ${this.#kernelName} gets at most ${CMDLINE.size}`,
      );
    }
    return address;
  }

  get placement(): Placement {
    const data = Uint8Array.from(this.#bytes);
    return { what: CMDLINE.what, address: CMDLINE.address, size: data.length, data };
  }
}
