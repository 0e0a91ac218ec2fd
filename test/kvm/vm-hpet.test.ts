/** A tiny guest uses a high precision event timer: hpet-kernel.c says what it prints. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, restoreVm } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { buildKernel } from "../support/multiboot-build.ts";
import { printed } from "../support/printed.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-hpet-"));
const kernel = join(folder, "kernel");
beforeAll(() => buildKernel("hpet-kernel.c", kernel));
afterAll(() => rmSync(folder, { recursive: true }));

const machine = { machine: "pc", memory: "4M", hpet: true } as const;
const limits = { timeout: patience(30_000) };

test(
  "its interrupts arrive where they are routed, and LegacyReplacement takes the PIT's place",
  limits,
  async () => {
    await using vm = await createVm({ ...machine, kernel });
    const output = printed(vm);
    await vm.start();
    expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
    expect((await output).toString().trim().split("\n")).toEqual([
      "id 8086a201",
      "period 00989680",
      "counts",
      "routed 00020000",
      "cut off 00000000",
      "legacy 00000004",
    ]);
  },
);

test("a timer that was saved while it waits interrupts where the machine is restored", limits, async () => {
  const dir = join(folder, "snapshot");
  {
    // The interrupt of a generation ID, for a copy, would come first.
    await using vm = await createVm({ ...machine, kernel, cmdline: "wait", generationId: false });
    await vm.start();
    await vm.serial.waitFor("waits");
    await vm.snapshot({ dir });
  }
  await using vm = await restoreVm(dir);
  const rest = vm.serial.waitFor("routed 00020000", { timeoutMs: patience(20_000) });
  await vm.resume();
  await rest;
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
});

test("without hpet: true there is none", limits, async () => {
  await using vm = await createVm({ machine: "pc", memory: "4M", kernel });
  await vm.start();
  await vm.serial.waitFor("id ffffffff", { timeoutMs: patience(20_000) });
});
