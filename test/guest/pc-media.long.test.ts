/** What PCs boot from besides stock images: CDs with isolinux and GRUB 2, and GRUB 2 on a disk with a GPT. */
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createVm } from "vmexit";
import { bootMs, pcMedium, Scratch, transcript, type } from "../support/guest.ts";
import { withoutCursor } from "../support/pc-login.ts";
import { talk } from "../support/talk.ts";

const MIB = 2 ** 20;

function md5(file: string): string {
  return createHash("md5").update(readFileSync(file)).digest("hex");
}

/** A disk with bytes of its own. */
function disk(file: string, n: number): string {
  writeFileSync(
    file,
    Uint8Array.from({ length: 3 * MIB }, (_, i) => (i * 31 + (i >> 9) * 7 + n * 101) & 0xff),
  );
  return file;
}

test("-boot order=dc,once=d with four IDE drives: isolinux from the CD; when it is ejected, GRUB 2 from a GPT", async () => {
  using scratch = new Scratch();
  const files = [scratch.path("gpt.img"), disk(scratch.path("b.img"), 1), disk(scratch.path("d.img"), 2)];
  copyFileSync(pcMedium("gpt.img"), files[0]);
  const places = [0, 1, 3];
  const disks = files.flatMap((file, n) => ["-drive", `file=${file},format=raw,index=${places[n]}`]);
  const cd = ["-cdrom", pcMedium("isolinux.iso")];
  const line = ["run", "-m", "256", ...disks, ...cd, "-boot", "order=dc,once=d", "-nographic"];
  // By channel and device: Linux names disks in the order in which it happens to find them.
  const place = "/sys/class/scsi_device";
  const names = `for n in 0:0:0 0:0:1 1:0:1 1:0:0; do set -- "$@" /dev/$(ls ${place}/$n:0/device/block); done`;
  const all = `cat /proc/cmdline; ${names}; md5sum "$@"`;
  // What is written to one drive is what another one has.
  const copy = "dd if=$3 of=$2 bs=64k count=16; sync";
  const eject = "echo 1 >/proc/sys/dev/cdrom/autoeject; dd if=/dev/sr0 of=/dev/null count=1";
  const before = [...files.slice(0, 3), pcMedium("isolinux.iso")].map(md5);
  const { status, output } = await talk(
    ["dist/bundle/main.js", ...line],
    [
      ["vmexit login: ", "root\n"],
      ["# ", `${all}; ${copy}; ${eject}; reboot -f\n`],
      ["vmexit login: ", "root\n"],
      ["# ", "cat /proc/cmdline; poweroff\n"],
    ],
    3 * bootMs(),
  );
  const printed = withoutCursor(output);
  expect(printed).toMatch(/isolinux of vmexit[\s\S]*from=isolinux\r\n/);
  const sums = [...printed.matchAll(/^([0-9a-f]{32}) {2}\/dev\//gm)].map(([, sum]) => sum);
  expect(sums).toEqual(before);
  expect(printed).toMatch(/GRUB: gpt[\s\S]*from=gpt\r\n/);
  expect(printed).toContain("Boot failed: Could not read from CDROM");
  expect(printed.match(/isolinux of vmexit/g)).toHaveLength(1);
  expect(status).toBe(0);
  const [, b, d] = files.map((file) => readFileSync(file));
  expect(b.subarray(0, MIB).equals(d.subarray(0, MIB))).toBe(true);
  expect(b.subarray(MIB).equals(d.subarray(MIB))).toBe(false);
});

test("GRUB 2 from a CD; Linux sees the CD change, and locks one that it reads", async () => {
  const [first, second] = [pcMedium("grub.iso"), pcMedium("isolinux.iso")];
  await using vm = await createVm({
    machine: "pc",
    memory: "256M",
    drives: [{ interface: "ide", media: "cdrom", file: first, format: "raw" }],
  });
  const [drive] = vm.drives;
  await vm.start();
  await vm.serial.waitFor("login: ", { timeoutMs: 3 * bootMs() });
  vm.serial.write("root\n");
  await vm.serial.waitFor(/# $/, { timeoutMs: bootMs() });
  expect(await type(vm, "cat /proc/cmdline")).toContain("from=grub-cd");
  expect(await type(vm, "md5sum /dev/sr0")).toContain(md5(first));
  await drive.insert(second);
  expect(await type(vm, "md5sum /dev/sr0")).toContain(md5(second));
  await type(vm, "exec 3</dev/sr0");
  await expect(drive.eject()).rejects.toMatchObject({ code: "EBUSY" });
  await type(vm, "exec 3<&-");
  await drive.eject();
  expect(await type(vm, "md5sum /dev/sr0 2>&1")).toMatch(/[Nn]o medium/);
});

test("memtest86+ from a CD tests memory with two CPUs for a minute, and finds no error", async () => {
  await using vm = await createVm({
    machine: "pc",
    memory: "64M",
    cpus: 2,
    drives: [{ interface: "ide", media: "cdrom", file: pcMedium("memtest.iso"), format: "raw" }],
  });
  const printed = transcript(vm);
  await vm.start();
  await vm.serial.waitFor(/Time: {2}0:01:/, { timeoutMs: 3 * bootMs() });
  expect(printed.text).toContain("Standard PC (i440FX + PIIX, 1996)");
  expect(printed.text).toContain("SMP: 2T (PAR)");
  const errors = [...printed.text.matchAll(/Pass: +\d+ +Errors: (\d+)/g)].map(([, count]) => count);
  expect(new Set(errors)).toEqual(new Set(["0"]));
});
