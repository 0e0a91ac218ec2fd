/** virtio-blk under Linux: what is written is there, on the host and at the next boot. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { expect, test } from "vitest";
import { createQcow2 } from "../../dist/images/qcow2/create.js";
import { guestFile, runScript, Scratch } from "../support/guest.ts";
import { qemuCheck, qemuImg } from "../support/qemu-tools.ts";

const MIB = 2 ** 20;

/** A file of an ext4 image, read by e2fsprogs. */
function debugfs(image: string, path: string): string {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { stdout, error } = spawnSync("debugfs", ["-R", `cat ${path}`, image], { encoding: "utf8", env });
  if (error !== undefined) throw error;
  return stdout;
}

function md5(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("hex");
}

/** Bytes that differ from block to block. */
function pattern(bytes: number): Buffer {
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) data.writeUInt32LE((at * 2654435761) >>> 0, at);
  return data;
}

test("a file written on the root disk is found on the host, and by the next boot", async () => {
  using scratch = new Scratch();
  const file = scratch.rootDisk();
  const root = { cmdline: "root=/dev/vda", drives: [{ file }] };
  const first = await runScript("echo 'was here' >/root/note && sync", root);
  expect(first).toMatchObject({ status: 0, ending: { reason: "poweroff" }, errors: [] });
  expect(debugfs(file, "/root/note")).toBe("was here\n");

  const second = await runScript("cat /root/note; mount | grep ' / '", root);
  expect(second.output).toMatch(/^was here$/m);
  expect(second.output).toMatch(/^\/dev\/vda on \/ type ext4 \(rw/m);
  expect(second.stats.drives[0].flushes).toBeGreaterThan(0);
});

test("two drives: one is read only and refuses writes, the other keeps them; both say who they are", async () => {
  using scratch = new Scratch();
  const [locked, open] = [scratch.path("locked.img"), scratch.path("open.img")];
  const data = pattern(2 * MIB);
  writeFileSync(locked, data);
  writeFileSync(open, Buffer.alloc(4 * MIB));
  const { output, errors, stats } = await runScript(
    `cat /sys/block/vda/ro /sys/block/vdb/ro /sys/block/vda/size /sys/block/vdb/size
     cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial; echo
     md5sum </dev/vda
     dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null || echo refused
     dd if=/dev/vda of=/dev/vdb bs=64k seek=16 conv=fsync 2>/dev/null
     cat /sys/block/vdb/queue/write_cache`,
    { cpus: 2, drives: [{ file: locked, readOnly: true, serial: "LOCKED-1" }, { file: open }] },
  );
  expect(output.trim().split("\n")).toEqual([
    ...["1", "0", "4096", "8192"],
    ...["LOCKED-1", "vmexit-1"],
    `${md5(data)}  -`,
    "refused",
    "write back",
  ]);
  expect(errors).toEqual([]);
  expect(readFileSync(locked).equals(data)).toBe(true);
  expect(
    readFileSync(open)
      .subarray(MIB, 3 * MIB)
      .equals(data),
  ).toBe(true);
  expect(stats.drives[0].bytesWritten).toBe(0);
  expect(stats.drives[1].bytesWritten).toBeGreaterThanOrEqual(2 * MIB);
});

test("several queues at once: each reader gets its own bytes, and parallel writes all arrive", async () => {
  using scratch = new Scratch();
  const file = scratch.path("disk.img");
  const data = pattern(32 * MIB);
  writeFileSync(file, Buffer.concat([data, Buffer.alloc(32 * MIB)]));
  const { output, status, stats } = await runScript(
    `ls /sys/block/vda/mq | wc -l
     for n in 0 1 2 3; do
       ( dd if=/dev/vda bs=64k skip=$((n*128)) count=128 iflag=direct 2>/dev/null |
         dd of=/dev/vda bs=64k seek=$((512+n*128)) conv=fsync 2>/dev/null ) &
     done; wait
     echo 3 >/proc/sys/vm/drop_caches
     dd if=/dev/vda bs=1M count=32 2>/dev/null | md5sum
     dd if=/dev/vda bs=1M skip=32 2>/dev/null | md5sum`,
    { cpus: 4, drives: [{ file }] },
  );
  expect(status).toBe(0);
  expect(output.trim().split("\n")).toEqual(["4", `${md5(data)}  -`, `${md5(data)}  -`]);
  expect(
    readFileSync(file)
      .subarray(32 * MIB)
      .equals(data),
  ).toBe(true);
  expect(stats.drives[0].errors).toBe(0);
});

test("space that the guest discards is freed on the host, and zeroed ranges read as zeros", async () => {
  using scratch = new Scratch();
  const file = scratch.path("disk.img");
  writeFileSync(file, pattern(16 * MIB));
  const { output, status } = await runScript(
    `cat /sys/block/vda/queue/discard_max_bytes /sys/block/vda/queue/write_zeroes_max_bytes
     blkdiscard /dev/vda -o 4194304 -l 4194304 && blkdiscard -z -o 0 -l 1048576 /dev/vda
     dd if=/dev/vda bs=1M count=1 2>/dev/null | md5sum`,
    { drives: [{ file }] },
  );
  const [discard, zeroes] = output.trim().split("\n").map(Number);
  expect(discard).toBeGreaterThan(0);
  expect(zeroes).toBeGreaterThan(0);
  expect({ status, lines: output }).toMatchObject({ status: 0 });
});

test.each(["microvm", "pc"] as const)(
  "on a %s, Linux uses SCSI disks and a CD: what it writes is in the image, and what it discards is not",
  async (machine) => {
    using scratch = new Scratch();
    const file = scratch.path("disk.img");
    writeFileSync(file, pattern(16 * MIB));
    const cd = scratch.path("cd.iso");
    writeFileSync(cd, pattern(MIB));
    const { output, status, stats } = await runScript(
      `modprobe virtio_scsi; modprobe sd_mod; modprobe sr_mod
     for n in $(seq 100); do [ -b /dev/sdb ] && break; sleep 0.1; done
     cd /sys/block/sda/device
     echo "is $(cat vendor) $(cat model) at $(basename $(readlink -f .)), $(cat /sys/block/sda/size) sectors"
     echo "frees by $(cat scsi_disk/*/provisioning_mode), $(cat scsi_disk/*/cache_type)"
     dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
     dd if=/tmp/data of=/dev/sda bs=64k seek=32 conv=fsync 2>/dev/null
     echo 3 >/proc/sys/vm/drop_caches
     dd if=/dev/sda bs=64k skip=32 count=16 2>/dev/null | cmp - /tmp/data && echo same
     echo "cd of $(cat /sys/block/sr0/size) sectors: $(dd if=/dev/sr0 bs=64k 2>/dev/null | md5sum)"
     blkdiscard /dev/sda -o 4194304 -l 4194304
     dd if=/dev/sda of=/tmp/whole bs=1M 2>/dev/null
     md5sum </tmp/whole
     dd if=/dev/zero of=/dev/sdb bs=4k count=1 conv=fsync 2>&1 | grep -c -i -E 'read-only|not permitted'`,
      {
        machine,
        cmdline: "root=/dev/vda",
        drives: [
          { file: guestFile("root.img"), format: "raw", snapshot: true },
          { file, format: "raw", interface: "scsi", target: 2 },
          {
            file: guestFile("root.img"),
            format: "raw",
            readOnly: true,
            interface: "scsi",
            target: 2,
            lun: 1,
          },
          { file: cd, format: "raw", interface: "scsi", media: "cdrom", target: 4 },
        ],
      },
    );
    expect({ output, status }).toMatchObject({ status: 0 });
    expect(output).toMatch(/is VMEXIT +HARDDISK +at \d+:0:2:0, 32768 sectors/);
    expect(output).toContain("frees by unmap, write back");
    expect(output).toContain("same\n");
    expect(output).toContain(`cd of 2048 sectors: ${md5(pattern(MIB))}`);
    const disk = readFileSync(file);
    expect(output).toContain(md5(disk));
    expect(disk.subarray(4 * MIB, 8 * MIB).every((byte) => byte === 0)).toBe(true);
    expect(disk.subarray(8 * MIB).equals(pattern(16 * MIB).subarray(8 * MIB))).toBe(true);
    expect(stats.drives[1].bytesWritten).toBe(MIB);
  },
);

test("a disk that the host loses is an I/O error for the guest and a report for the program", async () => {
  using scratch = new Scratch();
  const file = scratch.path("disk.img");
  writeFileSync(file, pattern(8 * MIB));
  const started = Date.now();
  const shrink = setInterval(() => {
    if (Date.now() - started > 1000) truncateSync(file, MIB); // long before a guest gets that far
  }, 100);
  try {
    const { output, errors, stats } = await runScript(
      `dd if=/dev/vda of=/dev/null bs=4k skip=1024 count=1 2>&1 | grep -v records
       dd if=/dev/vda of=/dev/null bs=4k count=1 2>/dev/null && echo begin`,
      { drives: [{ file }] },
    );
    expect(output).toMatch(/I\/O error/);
    expect(output).toMatch(/^begin$/m);
    expect(errors).toContainEqual(expect.objectContaining({ code: "EIO", device: "virtio-blk0" }));
    expect(stats.drives[0].errors).toBeGreaterThan(0);
  } finally {
    clearInterval(shrink);
  }
});

test("a guest lives on a qcow2 overlay: what it writes is there at the next boot, and the base stays as it was", async () => {
  using scratch = new Scratch();
  const base = scratch.rootDisk();
  const before = md5(readFileSync(base));
  const file = scratch.path("root.qcow2");
  createQcow2(file, { backingFile: basename(base), backingFormat: "raw" });
  const root = { cmdline: "root=/dev/vda", drives: [{ file, format: "qcow2" as const }] };
  const first = await runScript(
    "echo 'was here' >/root/note; dd if=/dev/urandom of=/root/noise bs=1M count=8 2>/dev/null; md5sum /root/noise; sync; rm /root/noise; fstrim / || true; sync",
    root,
  );
  expect(first).toMatchObject({ status: 0, ending: { reason: "poweroff" }, errors: [] });
  const second = await runScript("cat /root/note; mount | grep ' / '", root);
  expect(second.output).toMatch(/^was here$/m);
  expect(second.output).toMatch(/^\/dev\/vda on \/ type ext4 \(rw/m);
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  expect(md5(readFileSync(base))).toBe(before);
  const raw = scratch.path("all.raw");
  qemuImg("convert", "-O", "raw", file, raw);
  expect(debugfs(raw, "/root/note")).toBe("was here\n");
});
