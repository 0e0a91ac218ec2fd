/**
 * An operating system of your own: a Multiboot kernel in C, on the machine that
 * `createVm` makes.
 *
 * It prints everything twice, on the serial port and on the screen. The serial
 * port is a device, so each character exits. The screen is text memory at 0xb8000:
 * nothing exits, and a monitor that wants to display the screen reads the guest's
 * memory.
 *
 * Guest: own-os.c and own-os.s. Source: Multiboot Specification 0.6.96.
 */
import { readFileSync } from "node:fs";
import { createVm } from "vmexit";
import type { Out } from "./demos.ts";
import { heading, hex, table } from "./print.ts";

const SCREEN = 0xb8000; // text mode: 25 rows of 80 cells, character and colours
const ROWS = 25;
const COLUMNS = 80;
const READ_PORT = 0x300; // the kernel writes its result here when it has finished
const LIMIT_MS = 20_000;

export async function demo(out: Out): Promise<void> {
  const kernel = readFileSync(new URL("own-os.elf", import.meta.url));
  let screen: Screen | undefined;
  await using vm = await createVm({
    memory: "16M",
    kernel,
    cmdline: "colour=yes",
    devices: [
      {
        name: "screen-reader",
        port: READ_PORT,
        length: 1,
        handlers: {
          write: () => {
            screen = readScreen(vm.memory.read(SCREEN, ROWS * COLUMNS * 2));
          },
        },
      },
    ],
  });
  let serial = "";
  vm.serial.on("data", (text: Buffer) => {
    serial += text;
  });
  const closed = new Promise((resolve) => vm.serial.once("end", resolve));
  const limit = setTimeout(() => void vm.stop(), LIMIT_MS);
  await vm.start();
  const { reason, status, message } = await vm.exited;
  clearTimeout(limit);
  await closed;
  if (screen === undefined) throw new Error(message ?? `the kernel ended early: ${reason}`);

  out(`A kernel of ${kernel.length} bytes, loaded at 1 MiB and entered in protected mode.`);
  heading(out, "The output on the serial port");
  for (const line of serial.trimEnd().split("\n")) out(`  ${line}`);
  heading(out, `The screen, as it is in memory at ${hex(SCREEN)}`);
  const last = screen.rows.findLastIndex((row) => row !== "");
  for (const row of screen.rows.slice(0, last + 1)) out(`  |${row.padEnd(COLUMNS)}|`);
  out(`  Colours of the first cell: ${hex(screen.colours, 2)} (background, text).`);

  const { exits, devices, serials } = vm.stats();
  heading(out, "What printing cost");
  table(out, [
    ["serial port", serials[0].bytesOut, "characters", devices.com1, "accesses made KVM_RUN return"],
    ["screen", screen.cells, "cells not blank", exits.MMIO ?? 0, "accesses made KVM_RUN return"],
  ]);
  out("The serial port takes two for each character: one reads whether there is room, one writes it.");
  out(`kernel_main returned ${((status ?? 0) - 1) / 2}; isa-debug-exit made that exit status ${status}.`);
}

interface Screen {
  /** Text, without trailing blanks. */
  readonly rows: readonly string[];
  /** Cells that are not blank. */
  readonly cells: number;
  /** Of the first cell: background in the upper half of the byte, foreground in the lower one. */
  readonly colours: number;
}

function readScreen(memory: Uint8Array): Screen {
  const characters = memory.filter((_, i) => i % 2 === 0);
  const text = String.fromCharCode(...characters);
  const rows = Array.from({ length: ROWS }, (_, y) => text.slice(y * COLUMNS, (y + 1) * COLUMNS).trimEnd());
  return { rows, cells: characters.filter((c) => c !== 0x20).length, colours: memory[1] };
}
