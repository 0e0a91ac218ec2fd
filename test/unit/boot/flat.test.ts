import { expect, test } from "vitest";
import { planBoot } from "../../../src/boot/kernel.ts";
import type { MemoryRange } from "../../../src/boot/plan.ts";
import { bootRequest } from "../../support/boot-images.ts";

const plan = (address: number, size = 16, memory?: MemoryRange[]) =>
  planBoot(
    bootRequest(new Uint8Array(size), {
      flat: { address },
      cmdline: "",
      ...(memory === undefined ? {} : { memory }),
    }),
  );

test("a flat binary is loaded and entered at its address, with a stack at the end of its segment", () => {
  expect(plan(0x7c00, 512)).toEqual({
    protocol: "flat",
    placements: [
      { what: "flat binary", address: 0x7c00, size: 512, data: { file: "kernel", offset: 0, length: 512 } },
    ],
    entry: { mode: "real16", rip: 0x7c00, registers: { rsp: 0xfffe } },
  });
});

test("a flat binary may be at 0, where no boot data is kept for it", () => {
  expect(plan(0).placements).toHaveLength(1);
});

test("in 64 KiB of memory the stack is in RAM", () => {
  const memory: MemoryRange[] = [{ address: 0, size: 0x10000, type: "ram" }];
  expect(plan(0x1000, 16, memory).entry.registers.rsp).toBe(0xeffe);
});

test("an address that real mode cannot reach is refused", () => {
  expect(() => plan(0x100000)).toThrow("starts in real mode, below 1 MiB, not at 0x100000");
  expect(() => plan(-1)).toThrow("below 1 MiB");
});

test("a flat binary that runs into video memory is refused", () => {
  expect(() => plan(0x9f000, 0x2000)).toThrow("flat binary (0x9f000 to 0xa1000) is not in RAM");
});

test("an initrd or a command line for a flat binary is refused, not dropped", () => {
  const flat = { address: 0x1000 };
  const image = new Uint8Array(16);
  expect(() => planBoot(bootRequest(image, { flat, cmdline: "x" }))).toThrow("cannot have a command line");
  expect(() => planBoot(bootRequest(image, { flat, cmdline: "", initrd: { size: 1, name: "i" } }))).toThrow(
    "cannot have an initrd",
  );
});
