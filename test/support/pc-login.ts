/** What a PC prints that starts the disk of lab/pc-disk/build, and what is typed at its login. */
import { expect } from "vitest";
import { bootMs } from "./guest.ts";
import type { Result } from "./talk.ts";

/** For talk(). */
export const LOGIN = [
  ["vmexit login: ", "root\n"],
  ["# ", "nproc; cat /sys/class/dmi/id/product_name; ls /sys/block; poweroff\n"],
] as const;

/** Firmware and GRUB read slowly in the lab. */
export const LIMIT_MS = 2 * bootMs();

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what begins an escape sequence
const CURSOR = /\x1b\[[\d;?]*[A-Za-z]/g;

/** What firmware and boot loaders print. SeaBIOS moves the cursor in the middle of their words, when its timer fires. */
export function withoutCursor(output: string): string {
  return output.replaceAll(CURSOR, "");
}

/** It came up by SeaBIOS and GRUB legacy, with this disk and number of CPUs, and powered off. */
export function expectLogin(
  { status, output }: Result,
  { disk, cpus }: { disk: string; cpus: number },
): void {
  const printed = withoutCursor(output);
  expect(printed).toContain("SeaBIOS (version");
  expect(printed).toContain("GNU GRUB  version 0.97");
  expect(output).toMatch(new RegExp(`\\n${cpus}\\r\\nStandard PC \\(i440FX \\+ PIIX, 1996\\)\\r\\n`));
  expect(output).toMatch(new RegExp(`\\n${disk}\\s`));
  expect(status).toBe(0);
}
