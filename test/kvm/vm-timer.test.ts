/** The timer's interrupt arrives where the firmware's tables say. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createVm } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { buildKernel } from "../support/multiboot-build.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-timer-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A guest without a TSC deadline, as a Core 2 Duo, had no timer at all when it came at input 0. */
test.each(["microvm", "pc"] as const)("%s: the timer is at input 2 of the I/O APIC", async (machine) => {
  const kernel = join(folder, machine);
  buildKernel("timer-kernel.c", kernel);
  await using vm = await createVm({ machine, kernel, memory: "4M" });
  await vm.start();
  const [inputs] = await vm.serial.waitFor(/^[01]{24}/, { timeoutMs: patience(20_000) });
  expect([...inputs].flatMap((bit, input) => (bit === "1" ? [input] : []))).toEqual([2]);
});
