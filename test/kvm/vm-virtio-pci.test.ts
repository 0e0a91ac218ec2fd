/** A virtio device on the PC's bus, as a tiny driver finds it, moves it and uses it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, type VmOptions } from "vmexit";
import { buildKernel } from "../support/multiboot-build.ts";

let folder = "";
let kernel = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-virtio-pci-"));
  kernel = join(folder, "kernel.elf");
  buildKernel("virtio-pci-kernel.c", kernel);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the kernel to its end. */
async function run(what: string, rng: VmOptions["rng"] = true) {
  await using vm = await createVm({ machine: "pc", memory: "16M", kernel, cmdline: what, rng });
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = new Promise((resolve) => vm.serial.once("end", resolve));
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  await closed;
  return { lines: Buffer.concat(chunks).toString().trimEnd().split("\n"), stats: vm.stats() };
}

test("a modern driver: a masked message waits in the device, and the doorbell follows the BAR", async () => {
  const { lines, stats } = await run("modern");
  expect(lines).toEqual([
    "slot 00000002",
    "id 10051af4",
    "status 0000000f",
    "used 00000001",
    "pending 00000000",
    "message",
    "gone ffffffff",
    "used 00000002",
  ]);
  // Each register that it reads and writes, and the pending bit until it is set: no notification is among them.
  const EXITS = 21;
  expect(stats.devices["virtio-rng"]).toBeGreaterThanOrEqual(EXITS);
});

test("a modern driver without MSI-X: the line is high until it reads ISR status", async () => {
  const { lines, stats } = await run("line", { disableLegacy: true, addr: "1f" });
  const request = (n: number) => [`used 0000000${n}`, "isr 00000001", "line 00000000"];
  expect(lines).toEqual(["slot 0000001f", "id 10441af4", "status 0000000f", ...request(1), ...request(2)]);
  const BRING_UP = 14;
  // Of each request, its queue's place is read, and ISR status. The notification is an event.
  expect(stats.devices["virtio-rng"]).toBe(BRING_UP + 2 * 2);
});

test("a legacy driver uses ports, and has a request served before it sets DRIVER_OK", async () => {
  for (const disableModern of [false, true]) {
    const { lines, stats } = await run("legacy", { disableModern });
    expect(lines).toEqual([
      "slot 00000002",
      "id 10051af4",
      "size 00000040",
      "used 00000001",
      "isr 00000001",
      "gone ffffffff",
      "used 00000002",
      "status 00000007",
    ]);
    // Neither of the two notifications is an exit.
    expect(stats.devices["virtio-rng"]).toBe(10);
  }
});

test("firmware brings the device up through configuration space, and has a request served", async () => {
  const { lines } = await run("window");
  expect(lines).toEqual(["slot 00000002", "id 10051af4", "used 00000001"]);
});
