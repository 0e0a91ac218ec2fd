/** A PC starts a disk of the shape of stock images: through SeaBIOS and GRUB legacy to its login. */
import { copyFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bootMs, pcDisk, Scratch } from "../support/guest.ts";
import { talk } from "../support/talk.ts";

const LOGIN = [
  ["vmexit login: ", "root\n"],
  ["# ", "nproc; cat /sys/class/dmi/id/product_name; grep -c . /proc/partitions; ls /sys/block; poweroff\n"],
] as const;

function diskCopy(scratch: Scratch): string {
  const disk = scratch.path("disk.img");
  copyFileSync(pcDisk(), disk);
  return disk;
}

test.each([
  {
    where: "virtio on PCI",
    name: "vda",
    disk: (file: string) => ["-drive", `file=${file},format=raw,if=virtio`],
  },
])(
  "a stock image boots through SeaBIOS and GRUB legacy to its login, from $where",
  async ({ name, disk }) => {
    using scratch = new Scratch();
    const line = ["run", "-m", "256", "-smp", "2", "-name", "test", ...disk(diskCopy(scratch)), "-nographic"];
    const { status, output } = await talk(["dist/bundle/main.js", ...line], LOGIN, 2 * bootMs());
    expect(output).toContain("SeaBIOS (version");
    expect(output).toContain("GNU GRUB  version 0.97");
    expect(output).toMatch(/\n2\r\nStandard PC \(i440FX \+ PIIX, 1996\)\r\n/);
    expect(output).toContain(name);
    expect(status).toBe(0);
  },
);
