/**
 * Hosts whose storage fails under a running guest: a file system that is full, a disk
 * with bad sectors, an image that gets shorter. The guest sees an I/O error, the
 * program gets a report, and QEMU finds no damage in the image.
 *
 * In the lab only: these need root, and change the host.
 */
import { copyFileSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createQcow2 } from "../../dist/images/qcow2/create.js";
import { runScript, Scratch } from "../support/guest.ts";
import { inLab, root, smallFileSystem } from "../support/lab-host.ts";
import { qemuCheck, qemuContents } from "../support/qemu-tools.ts";

const MIB = 2 ** 20;
const SECTORS = MIB / 512;

/** Shell functions: `put LETTER MIB` writes a mebibyte of one letter, `is LETTER MIB` reads it again. */
const LETTERS = `
put() { dd if=/dev/zero bs=64k count=16 2>/dev/null | tr '\\0' "$1" | dd of=/dev/vda bs=64k seek=$(($2*16)) count=16 iflag=fullblock oflag=direct conv=fsync,notrunc 2>/dev/null && echo "$1 is stored" || echo "$1 is refused"; }
is() { [ "$(dd if=/dev/vda bs=64k skip=$(($2*16)) count=16 iflag=direct 2>/dev/null | tr -d "$1" | wc -c)" = 0 ] && dd if=/dev/vda bs=64k skip=$(($2*16)) count=16 iflag=direct of=/dev/null 2>/dev/null && echo "$1 is there"; }
`;

test.skipIf(!inLab)(
  "a file system that is full: what fits is stored, and room that is made is used",
  async () => {
    using scratch = new Scratch();
    using small = smallFileSystem(scratch.path("small"), "4M");
    const file = join(small.folder, "disk.qcow2");
    createQcow2(file, { size: 64 * MIB });
    const drives = [{ file, format: "qcow2" as const }];
    const { output, errors, stats } = await runScript(
      `${LETTERS}
     put a 0; put b 10; put c 20; put d 30; put e 40
     is a 0; is b 10; put f 0; is f 0
     # What is discarded is free once that is in the file.
     blkdiscard -o ${10 * MIB} -l ${MIB} /dev/vda && put f 0 && put g 50; is g 50`,
      { drives },
    );
    expect(output).toMatch(/^a is stored\nb is stored\nc is stored\n/m);
    expect(output).toMatch(/^e is refused$/m);
    expect(output).toMatch(/a is there\n[\s\S]*b is there\n[\s\S]*f is stored\n[\s\S]*f is there\n/);
    expect(output).toMatch(/g is stored\n[\s\S]*g is there\n$/);
    expect(errors).toContainEqual(
      expect.objectContaining({ device: "virtio-blk0", message: expect.stringContaining("ENOSPC") }),
    );
    expect(stats.drives[0].errors).toBeGreaterThan(0);
    const copy = scratch.path("copy.qcow2"); // where there is room
    copyFileSync(file, copy);
    expect(qemuCheck(copy)).toMatchObject({ corruptions: 0, errors: 0 });
    const disk = qemuContents(copy);
    expect(Buffer.compare(disk.subarray(0, MIB), Buffer.alloc(MIB, "f"))).toBe(0);
  },
);

/** A device mapper's disk of 32 MiB in memory, of which one mebibyte cannot be read or written. */
function badDisk(scratch: Scratch, bad: number): string {
  root("modprobe", "-a", "loop", "dm_mod");
  const file = scratch.path("medium");
  writeFileSync(file, "");
  truncateSync(file, 32 * MIB);
  const loop = root("losetup", "--find", "--show", file);
  onTestFinished(() => void root("losetup", "--detach", loop));
  const name = "vmexit-bad";
  const table = [
    `0 ${bad * SECTORS} linear ${loop} 0`,
    `${bad * SECTORS} ${SECTORS} error`,
    `${(bad + 1) * SECTORS} ${(31 - bad) * SECTORS} linear ${loop} ${(bad + 1) * SECTORS}`,
  ];
  root("dmsetup", "create", name, "--noudevsync", "--table", table.join("\n"));
  onTestFinished(() => void root("dmsetup", "remove", "--noudevsync", name));
  root("dmsetup", "mknodes");
  return `/dev/mapper/${name}`;
}

test.skipIf(!inLab)("a disk with bad sectors: the guest cannot use them, and everything else", async () => {
  using scratch = new Scratch();
  const file = badDisk(scratch, 9);
  const { output, errors } = await runScript(
    `${LETTERS}
     dd if=/dev/vda bs=64k skip=144 count=1 iflag=direct of=/dev/null 2>/dev/null || echo "cannot be read"
     put a 8; put b 9; put c 10; is a 8; is c 10`,
    { drives: [{ file }] },
  );
  expect(output).toMatch(/cannot be read\n[\s\S]*a is stored\n[\s\S]*b is refused\n[\s\S]*c is stored\n/);
  expect(output).toMatch(/a is there\n[\s\S]*c is there\n$/);
  expect(errors).toContainEqual(expect.objectContaining({ code: "EIO", device: "virtio-blk0" }));
});

test.skipIf(!inLab)(
  "an image on bad sectors: what could not be written is refused, and the rest is whole",
  async () => {
    using scratch = new Scratch();
    const file = badDisk(scratch, 3);
    root("qemu-img", "create", "-q", "-f", "qcow2", file, "16M");
    const drives = [{ file, format: "qcow2" as const }];
    const { output, errors } = await runScript(
      `${LETTERS}
     put a 0; put b 1; put c 2; put d 3
     is a 0; is b 1; put e 0; is e 0`,
      { drives },
    );
    expect(output).toMatch(/^a is stored\nb is stored\n/);
    expect(output).toMatch(/^[cd] is refused$/m);
    expect(output).toMatch(/a is there\n[\s\S]*b is there\n[\s\S]*e is stored\n[\s\S]*e is there\n$/);
    expect(errors).toContainEqual(expect.objectContaining({ code: "EIO", device: "virtio-blk0" }));
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, errors: 0 });
  },
);

test.skipIf(!inLab)("an image that gets shorter: lost clusters are errors and no zeros", async () => {
  using scratch = new Scratch();
  const file = scratch.path("disk.qcow2");
  createQcow2(file, { size: 16 * MIB });
  const script = (text: string) =>
    runScript(LETTERS + text, { drives: [{ file, format: "qcow2" as const }] });
  expect((await script("put a 0; put b 8")).output).toBe("a is stored\nb is stored\n");
  const { size } = statSync(file);
  const data = readFileSync(file);
  const end = data.lastIndexOf("b".repeat(4096)) + 4096;
  expect(end).toBeLessThanOrEqual(size);
  const started = Date.now();
  const shrink = setInterval(() => {
    if (Date.now() - started > 1000) truncateSync(file, end - 512 * 1024); // long before a guest gets that far
  }, 100);
  onTestFinished(() => clearInterval(shrink));
  const { output, errors } = await script(
    `is a 0; dd if=/dev/vda bs=64k skip=143 count=1 iflag=direct of=/dev/null 2>/dev/null || echo "is lost"`,
  );
  expect(output).toMatch(/a is there\n[\s\S]*is lost\n$/);
  expect(errors).toContainEqual(expect.objectContaining({ code: "EIO", device: "virtio-blk0" }));
});
