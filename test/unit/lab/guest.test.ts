/** The guest's own promises, under plain emulation: no KVM, no vmexit. */
import { spawnSync } from "node:child_process";
import { closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const BUILD = join(import.meta.dirname, "../../../lab/guest/build");
const PATIENCE = 900_000; // reached only by a hang, also on a busy machine
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
let guest = "";
let scratch = "";

beforeAll(() => {
  const { status, stdout } = spawnSync(BUILD, { encoding: "utf8" });
  expect(status).toBe(0);
  guest = stdout.trim();
  scratch = mkdtempSync(join(tmpdir(), "vmexit-unit-"));
}, PATIENCE);
afterAll(() => rmSync(scratch, { recursive: true }));

function bytes(name: string, offset: number, length: number): string {
  const file = openSync(join(guest, name), "r");
  const buffer = Buffer.alloc(length);
  readSync(file, buffer, 0, length, offset);
  closeSync(file);
  return buffer.toString("latin1");
}

/** Boots until it powers off; returns what it printed. */
function boot(disk: string, cmdline: string): string {
  const args = ["-accel", "tcg", "-M", "pc", "-m", "256", "-nic", "none", "-no-reboot", "-nographic"];
  args.push("-kernel", join(guest, "vmlinux"), "-initrd", join(guest, "initrd.img"));
  args.push("-append", `quiet console=ttyS0 ${cmdline}`, "-drive", `file=${disk},format=raw,if=virtio`);
  const options = { encoding: "utf8", timeout: PATIENCE, input: "" } as const;
  return spawnSync("qemu-system-x86_64", args, options).stdout;
}

function script(text: string): string {
  return `vmexit.run=${Buffer.from(text).toString("base64")}`;
}

test("the guest's folder has what its description says, each in its format", () => {
  expect(bytes("vmlinuz", 0x202, 4)).toBe("HdrS");
  expect(bytes("vmlinux", 0, 4)).toBe("\x7fELF");
  expect(bytes("initrd.img", 0, 6)).toBe("070701");
  const config = JSON.parse(readFileSync(join(guest, "config.json"), "utf8"));
  expect(config).toMatchObject({ cmdline: "console=ttyS0 root=/dev/vda", firstLine: "vmexit: init" });
  const release = spawnSync("debugfs", ["-R", "cat /etc/os-release", join(guest, "root.img")], { env });
  expect(release.stdout.toString()).toContain("ID=vmexit");
});

test("a script on the command line runs on the disk, says its status, and leaves the disk whole", {
  timeout: PATIENCE,
}, () => {
  const disk = join(scratch, "disk.img");
  copyFileSync(join(guest, "root.img"), disk);
  const printed = boot(disk, `root=/dev/vda ${script("echo kept >/root/note; exit 3")}`);
  expect(printed).toMatch(/vmexit: init.*vmexit: status 3\r\n/s);
  const note = spawnSync("debugfs", ["-R", "cat /root/note", disk], { env });
  expect(note.stdout.toString()).toBe("kept\n");
  const check = spawnSync("e2fsck", ["-fn", disk], { env, encoding: "utf8" });
  expect(check.stdout).not.toContain("recovery");
  expect(check.status).toBe(0);
});

test("without root= the initramfs is the whole system, and the disk stays as it was", {
  timeout: PATIENCE,
}, () => {
  const disk = join(scratch, "unused.img");
  copyFileSync(join(guest, "root.img"), disk);
  const printed = boot(disk, script("grep ' / ' /proc/mounts; test -b /dev/vda; exit $?"));
  expect(printed).toContain("rootfs / rootfs");
  expect(printed).toContain("vmexit: status 0");
  expect(readFileSync(disk).equals(readFileSync(join(guest, "root.img")))).toBe(true);
});
