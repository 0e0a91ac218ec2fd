/** What a driver of a virtio device costs in exits, and what it reads without one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createVm, type VmError } from "vmexit";
import { Vm } from "vmexit/kvm";
import { buildKernel } from "../support/multiboot-build.ts";
import { printed } from "../support/printed.ts";

const WINDOW = 0xfeb0_0000;

let folder = "";
let kernel = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmexit-virtio-"));
  kernel = join(folder, "kernel.elf");
  buildKernel("virtio-kernel.c", kernel);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the kernel to its end, with an entropy device alone. */
async function run(what: string) {
  await using vm = await createVm({ memory: "16M", kernel, cmdline: what, rng: true });
  const errors: VmError[] = [];
  vm.on("error", (error) => void errors.push(error));
  const output = printed(vm);
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  const lines = (await output).toString().trimEnd().split("\n");
  return { lines, errors, stats: vm.stats() };
}

test("a driver reads its registers without an exit, and reads what the device says", async () => {
  const { lines, stats } = await run("registers");
  expect(lines).toEqual([
    "000 74726976", // "virt"
    "004 00000002",
    "008 00000004", // an entropy device
    "00c 78656d76", // "vmex"
    "010 30000000", // RING_INDIRECT_DESC, RING_EVENT_IDX
    "034 00000040", // QueueNumMax
    "044 00000001", // QueueReady
    "070 0000000f", // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK
    ...["0b0 ffffffff", "0b4 ffffffff", "0b8 ffffffff", "0bc ffffffff"], // no shared memory
    "used 00000000",
  ]);
  const STORES = 13; // by which it brought the device up
  expect(stats.exits.MMIO).toBe(STORES);
  expect(stats.devices["virtio-rng"]).toBe(STORES);
});

test("a request, its interrupt and the acknowledgement cost no exit, however many there are", async () => {
  const one = await run("1");
  const many = await run("32");
  expect(one.lines).toEqual(["used 00000001"]);
  expect(many.lines).toEqual(["used 00000020"]);
  expect(many.stats.exits.MMIO).toBe(one.stats.exits.MMIO);
});

test("where KVM has no read-only memory, the same driver sees the same registers, by exits", async () => {
  const shown = await run("registers");
  const asked = Vm.prototype.checkExtension;
  using _ = vi.spyOn(Vm.prototype, "checkExtension").mockImplementation(function (this: Vm, capability) {
    return capability === "READONLY_MEM" ? 0 : asked.call(this, capability);
  });
  const [registers, requests] = [await run("registers"), await run("32")];
  expect(registers.lines).toEqual(shown.lines);
  expect(registers.stats.exits.MMIO).toBe((shown.stats.exits.MMIO ?? 0) + 1024);
  expect(requests.lines).toEqual(["used 00000020"]);
  expect(requests.stats.exits.MMIO).toBeGreaterThan(3 * 32);
});

test("the pages of the registers are not RAM: a queue there breaks the device, which reports it", async () => {
  const { lines, errors } = await run("astray");
  expect(lines).toEqual(["status 0000004f", "interrupt 00000002"]);
  expect(errors.map(({ code, device }) => [code, device])).toEqual([["EQUEUE", "virtio-rng"]]);
});

test("nor does the program find them in the guest's memory, and the memory tree shows what they are", async () => {
  await using vm = await createVm({ memory: "16M", kernel, cmdline: "registers", rng: true });
  expect(() => vm.memory.read(WINDOW, 4)).toThrow(/not all guest RAM/);
  const slot = vm.memory.slots().find(({ guestPhysAddr }) => guestPhysAddr === WINDOW);
  expect(slot).toMatchObject({ slot: 1, flags: 2, memorySize: 0x1000 });
  expect(vm.memory.tree().text).toContain(`
    00000000feb00000-00000000feb00fff rom slot 1 at host 0x${slot?.userspaceAddr.toString(16)}
      00000000feb00000-00000000feb00fff virtio-rng (device)
`);
});
