/** A PC starts a disk of the shape of stock images: through SeaBIOS and GRUB legacy to its login. */
import { copyFileSync, symlinkSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { bootMs, pcDisk, Scratch } from "../support/guest.ts";
import { qemuImg } from "../support/qemu-tools.ts";
import { talk } from "../support/talk.ts";

const LOGIN = [
  ["vmexit login: ", "root\n"],
  ["# ", "nproc; cat /sys/class/dmi/id/product_name; grep -c . /proc/partitions; ls /sys/block; poweroff\n"],
] as const;
const COMMAND = "dist/bundle/main.js";
/** Firmware and GRUB read slowly in the lab. */
const LIMIT_MS = 2 * bootMs();

function expectLogin({ status, output }: Awaited<ReturnType<typeof talk>>, disk: string): void {
  expect(output).toContain("SeaBIOS (version");
  expect(output).toContain("GNU GRUB  version 0.97");
  expect(output).toMatch(/\n2\r\nStandard PC \(i440FX \+ PIIX, 1996\)\r\n/);
  expect(output).toMatch(new RegExp(`\\n${disk}\\s`));
  expect(status).toBe(0);
}

test("a stock image boots through SeaBIOS and GRUB legacy to its login, from virtio on PCI", async () => {
  using scratch = new Scratch();
  const disk = scratch.path("disk.img");
  copyFileSync(pcDisk(), disk);
  const drive = ["-drive", `file=${disk},format=raw,if=virtio`];
  const line = ["run", "-m", "256", "-smp", "2", "-name", "test", ...drive, "-nographic"];
  expectLogin(await talk([COMMAND, ...line], LOGIN, LIMIT_MS), "vda");
});

test("as qemu-system-x86_64, with -hda: the same from an IDE disk in an old qcow2 image", async () => {
  using scratch = new Scratch();
  const disk = scratch.path("cirros-0.4.0-x86_64-disk.img");
  qemuImg("convert", "-O", "qcow2", "-o", "compat=0.10", pcDisk(), disk);
  const alias = scratch.path("qemu-system-x86_64");
  symlinkSync(resolve(COMMAND), alias);
  const line = ["-m", "128", "-smp", "2", "-name", "test", "-hda", disk, "-nographic"];
  expectLogin(await talk([alias, ...line], LOGIN, LIMIT_MS), "sda");
});
