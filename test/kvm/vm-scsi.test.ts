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

/** A CD of `blocks` blocks, full of a byte. */
function disc(name: string, blocks: number, byte: number): string {
  const file = join(folder, name);
  writeFileSync(file, Buffer.alloc(blocks * 2048, byte));
  return file;
}

test("the medium of a CD drive is changed while the guest uses it, and stays in it after a reset", async () => {
  const drive = { interface: "scsi", media: "cdrom", target: 3 } as const;
  await using vm = await createVm({ kernel, cmdline: "cd", drives: [drive] });
  await vm.start();
  await vm.serial.waitFor("waits");
  const ask = async (byte = " ") => {
    const answered = vm.serial.waitFor(/ready .. .. (\S+)\n[\s\S]*last 0*(\S+)\n[\s\S]*first 0*(\S+)\n/);
    vm.serial.write(byte);
    return (await answered).slice(1, 4);
  };
  expect((await ask())[0]).toBe("062900");
  expect((await ask())[0]).toBe("023a01");
  await vm.drives[0].insert(disc("first.iso", 4, 0x41));
  expect(await ask()).toEqual(["062800", "3", "41"]);
  await vm.drives[0].insert(disc("second.iso", 7, 0x42));
  expect(await ask()).toEqual(["062800", "6", "42"]);
  expect(await ask("l")).toEqual(["000000", "6", "42"]);
  await expect(vm.drives[0].eject()).rejects.toMatchObject({ name: "DriveError", code: "EBUSY" });
  expect(await ask()).toEqual(["000000", "6", "42"]);
  await vm.drives[0].eject({ force: true });
  expect((await ask())[0]).toBe("023a02");
  await vm.drives[0].insert(disc("third.iso", 5, 0x43));
  await vm.reset();
  await vm.serial.waitFor("waits");
  expect(await ask()).toEqual(["062900", "4", "43"]);
  expect(vm.stats().drives[0].bytesRead).toBe(5 * 2048);
});

test("a CD drive continues from a snapshot with the medium that was inserted", async () => {
  const drive = { interface: "scsi", media: "cdrom", target: 3 } as const;
  const file = disc("saved.iso", 9, 0x44);
  const dir = join(folder, "saved-cd");
  const ask = /ready .. .. (\S+)\n[\s\S]*last 0*(\S+)\n[\s\S]*first 0*(\S+)\n/;
  {
    await using vm = await createVm({ kernel, cmdline: "cd", drives: [drive] });
    await vm.start();
    await vm.serial.waitFor("waits");
    await vm.drives[0].insert(file);
    const answered = vm.serial.waitFor(ask);
    vm.serial.write(" ");
    await answered;
    await vm.snapshot({ dir });
  }
  await using vm = await restoreVm(dir, { drives: [{ media: "cdrom", file }] });
  await vm.resume();
  const answered = vm.serial.waitFor(ask);
  vm.serial.write(" ");
  expect((await answered).slice(1, 4)).toEqual(["000000", "8", "44"]);
});
