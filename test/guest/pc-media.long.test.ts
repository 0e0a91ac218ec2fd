/** What PCs boot from besides stock images: a CD with isolinux, and GRUB 2 on a disk with a GPT. */
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bootMs, pcMedium, Scratch } from "../support/guest.ts";
import { talk } from "../support/talk.ts";

const MIB = 2 ** 20;
/** SeaBIOS moves the cursor in the middle of what boot loaders print. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what begins an escape sequence
const CURSOR = /\x1b\[[\d;?]*[A-Za-z]/g;

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
  // What is written to one drive is what another one has.
  const all = "cat /proc/cmdline; md5sum /dev/sda /dev/sdb /dev/sdc /dev/sr0";
  const copy = "dd if=/dev/sdc of=/dev/sdb bs=64k count=16; sync";
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
  const printed = output.replaceAll(CURSOR, "");
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
