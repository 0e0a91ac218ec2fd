/**
 * A PC as people start one: a stock image, by QEMU's own line, through SeaBIOS and GRUB legacy to its login.
 * And virtio devices on its bus, of which Linux uses a disk by the modern and by the legacy interface.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { pcDisk, Scratch, ScriptGuest, transcript } from "../support/guest.ts";
import { expectLogin, LIMIT_MS, LOGIN } from "../support/pc-login.ts";
import { qemuImg } from "../support/qemu-tools.ts";
import { talk } from "../support/talk.ts";

const SECTOR = 512;
const SECTORS = 4096;

/**
 * The disk's place and ids, bit 32 of its features (VERSION_1), its serial number and its first line; copies
 * that line to sector 9, reads the whole disk, and counts the interrupts of the queues.
 */
const SCRIPT = `
pci=/sys/bus/pci/devices/0000:00:04.0
echo "ids $(cat $pci/vendor $pci/device $pci/revision $pci/class | tr '\\n' ' ')"
echo "version 1: $(cut -c33 $pci/virtio*/features)"
echo "serial $(cat /sys/block/vda/serial)"
line=$(head -n 1 /dev/vda)
echo "$line"
echo "$line" | dd of=/dev/vda bs=${SECTOR} seek=9 conv=fsync 2>/dev/null
dd if=/dev/vda of=/dev/null bs=64k 2>&1 | tail -n 1
echo "messages $(grep -c PCI-MSI.*virtio /proc/interrupts)"
echo "random $(head -c 4 /dev/hwrng | wc -c)"
echo finished
read -r _
`;

test("as qemu-system-x86_64, with -hda: from an IDE disk in an old qcow2 image to its login", async () => {
  using scratch = new Scratch();
  const disk = scratch.path("cirros-0.4.0-x86_64-disk.img");
  qemuImg("convert", "-O", "qcow2", "-o", "compat=0.10", pcDisk(), disk);
  execFileSync(process.execPath, ["dist/bundle/main.js", "install-aliases", scratch.folder]);
  const alias = scratch.path("qemu-system-x86_64");
  const line = ["-m", "128", "-smp", "2", "-name", "test", "-hda", disk, "-nographic"];
  expectLogin(await talk([alias, ...line], LOGIN, LIMIT_MS), { disk: "sda", cpus: 2 });
});

test.each([
  // A vector for the configuration and one for the queue, of the disk and of the entropy device.
  ["a modern disk", "0x1af4 0x1042 0x01 0x010000", "1", "", 4, { disableLegacy: true }],
  ["a disk that interrupts by its line", "0x1af4 0x1001 0x00 0x010000", "1", "pci=nomsi", 0, {}],
  ["a legacy disk", "0x1af4 0x1001 0x00 0x010000", "0", "", 4, { disableModern: true }],
] as const)("%s on a PC", async (_, ids, version1, cmdline, vectors, interfaces) => {
  using scratch = new Scratch();
  const file = scratch.path("disk.img");
  const disk = Buffer.alloc(SECTORS * SECTOR);
  disk.write("the first line\n");
  writeFileSync(file, disk);
  await using guest = await ScriptGuest.start(SCRIPT, {
    machine: "pc",
    cmdline,
    drives: [{ file, format: "raw", serial: "a-disk", addr: "4", ...interfaces }],
    rng: interfaces,
  });
  const printed = transcript(guest.vm);
  await guest.says("finished");
  expect(printed.text).toContain(`ids ${ids}`);
  expect(printed.text).toContain(`version 1: ${version1}`);
  expect(printed.text).toContain("serial a-disk");
  expect(printed.text).toContain(`messages ${vectors}\n`);
  expect(printed.text).toContain("random 4\n");
  expect(
    readFileSync(file)
      .subarray(9 * SECTOR)
      .toString("latin1", 0, 15),
  ).toBe("the first line\n");
  expect(guest.errors).toEqual([]);
});
