/** A PC starts a stock image from virtio disks on its bus, with one, two and four CPUs. */
import { copyFileSync } from "node:fs";
import { test } from "vitest";
import { pcDisk, Scratch } from "../support/guest.ts";
import { expectLogin, LIMIT_MS, LOGIN } from "../support/pc-login.ts";
import { talk } from "../support/talk.ts";

test.each([
  ["if=virtio, two CPUs", 2, (drive: string) => ["-drive", `${drive},if=virtio`]],
  [
    "a legacy disk, one CPU",
    1,
    (drive: string) => [
      ...["-drive", `${drive},if=none,id=disk`],
      ...["-device", "virtio-blk-pci,drive=disk,disable-modern=on"],
    ],
  ],
  [
    "a modern disk, four CPUs",
    4,
    (drive: string) => [
      ...["-drive", `${drive},if=none,id=disk`],
      ...["-device", "virtio-blk-pci,drive=disk,disable-legacy=on"],
    ],
  ],
] as const)("SeaBIOS and GRUB legacy to the login: %s", async (_, cpus, options) => {
  using scratch = new Scratch();
  const disk = scratch.path("disk.img");
  copyFileSync(pcDisk(), disk);
  const line = ["-m", "256", "-smp", `${cpus}`, "-name", "test", ...options(`file=${disk},format=raw`)];
  const command = ["dist/bundle/main.js", "run", ...line, "-nographic"];
  expectLogin(await talk(command, LOGIN, LIMIT_MS), { disk: "vda", cpus });
});
