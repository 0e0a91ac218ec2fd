/** A tiny guest uses a SCSI disk: scsi-kernel.c says what it does. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createVm, restoreVm } from "vmexit";
import { buildKernel } from "../support/multiboot-build.ts";

const SECTOR = 512;
const SECTORS = 2048;
const folder = mkdtempSync(join(tmpdir(), "vmexit-scsi-"));
const kernel = join(folder, "kernel.elf");
beforeAll(() => buildKernel("scsi-kernel.c", kernel));
afterAll(() => rmSync(folder, { recursive: true }));

test("what it writes is in the image, what it frees is not, and the counters are the disk's", async () => {
  const file = join(folder, "disk.img");
  writeFileSync(file, Buffer.alloc(SECTORS * SECTOR, 0x61));
  await using vm = await createVm({
    kernel,
    drives: [{ file, format: "raw", interface: "scsi", target: 3, id: "data" }],
  });
  let text = "";
  vm.serial.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  const closed = new Promise((end) => vm.serial.once("end", end));
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  await closed;
  expect(text.trim().split("\n")).toEqual([
    "inquiry 00 00 000000",
    "HARDDISK",
    "attention 00 02 062900",
    "ready 00 00 000000",
    "capacity 00 00 000000",
    `last ${(SECTORS - 1).toString(16).padStart(8, "0")}`,
    "write 00 00 000000",
    "read 00 00 000000",
    "wrong 00000000",
    "unmap 00 00 000000",
    "beyond 00 02 052100",
    "absent 03 00 000000",
  ]);
  const disk = readFileSync(file);
  expect(disk.readUint8(5 * SECTOR + 100)).toBe((100 * 7) & 0xff);
  expect(disk.subarray(64 * SECTOR, 72 * SECTOR).every((byte) => byte === 0)).toBe(true);
  expect(disk.readUint8(72 * SECTOR)).toBe(0x61);
  expect(vm.stats().drives[0]).toMatchObject({ bytesRead: SECTOR, bytesWritten: SECTOR });
});

test("a machine that continues from a snapshot has its disk at the same place", async () => {
  const file = join(folder, "saved.img");
  writeFileSync(file, Buffer.alloc(SECTORS * SECTOR, 0x61));
  const disk = { file, format: "raw" } as const;
  const dir = join(folder, "saved");
  {
    await using vm = await createVm({
      kernel,
      cmdline: "wait",
      drives: [{ ...disk, interface: "scsi", target: 3 }],
    });
    await vm.start();
    await vm.serial.waitFor("waits");
    await vm.snapshot({ dir });
  }
  await using vm = await restoreVm(dir, { drives: [disk] });
  const rest = vm.serial.waitFor(/read 00 00 000000\nwrong 00000000\n[\s\S]*absent 03 00 000000/);
  await vm.resume();
  vm.serial.write("\n");
  await rest;
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
});
