/** The demo `own-os`: what it prints is what its kernel did. */
import { expect, test } from "vitest";
import { runDemo } from "../support/demos.ts";

test("own-os shows the same text from the serial port and from text memory, and what either costs", async () => {
  const lines = await runDemo("own-os");
  const start = lines.findIndex((line) => line.startsWith("The output on the serial port")) + 2;
  const serial = lines.slice(start, lines.indexOf("", start)).map((line) => line.slice(2));
  expect(serial).toEqual([
    "own-os: a kernel of my own",
    "started  kernel colour=yes",
    expect.stringMatching(/^cpu {6}hypervisor KVMKVMKVM, CR0 0x[1-9a-f]*[13579bdf]$/), // PE is set
    "memory   0x0: 639 KiB to use",
    "memory   0x9fc00: 385 KiB reserved",
    "memory   0x100000: 15360 KiB to use",
    ".".repeat(79),
    expect.stringMatching(/^80 characters: serial port \d+ cycles, screen \d+ cycles$/),
  ]);

  const screen = lines.filter((line) => line.startsWith("  |")).map((line) => line.slice(3, -1));
  expect(screen.map((row) => row.length)).toEqual(serial.map(() => 80));
  expect(screen.map((row) => row.trimEnd())).toEqual(serial);
  expect(lines).toContain("  Colours of the first cell: 0x1f (background, text).");

  // Two accesses a character, one of five to set the port up; none for the screen.
  const numbers = (what: string) => {
    const row = lines.find((line) => line.includes(what)) ?? "";
    return row.match(/\d+/g)?.map(Number);
  };
  const characters = serial.reduce((sum, line) => sum + line.length + 1, 0);
  const cells = screen.join("").replaceAll(" ", "").length;
  expect(numbers(" characters  ")).toEqual([characters, 2 * characters + 5]);
  expect(numbers(" cells not blank ")).toEqual([cells, 0]);
  expect(lines).toContain("kernel_main returned 0; isa-debug-exit made that exit status 1.");
});
