/**
 * Disks that are not a file of the host's file system, or not only: of the program's
 * own, behind NBD servers, on a block device past the page cache, and images that
 * must not change. A Linux guest lives on all of them, and finds its files after a
 * reset.
 */
import { createHash } from "node:crypto";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { directFolder } from "../../bench/support/direct-folder.ts";
import { Scratch, ScriptGuest } from "../support/guest.ts";
import { root } from "../support/lab-host.ts";
import { hostSays, MemorySource } from "../support/memory-source.ts";
import { NbdPeers } from "../support/nbd-peers.ts";
import { qemuImg } from "../support/qemu-tools.ts";

const MIB = 2 ** 20;

/**
 * `live DISK` makes a file system there with a file and its checksum in it, or
 * finds that of an earlier boot and adds a file; `ask THING` waits until the test
 * has done it.
 */
const LIVES = `
ask() { echo "ask $1"; read -r answer; }
live() {
  mkdir -p /tmp/$1
  if mount -t ext4 /dev/$1 /tmp/$1 2>/dev/null; then
    echo "$1 is known"
  else
    mke2fs -F /dev/$1 >/dev/null 2>&1 && mount -t ext4 /dev/$1 /tmp/$1 || echo "$1 takes no file system"
  fi
  for file in /tmp/$1/*.data; do
    [ ! -e $file ] || [ "$(md5sum <$file)" = "$(cat $file.sum)" ] || echo "$file changed"
  done
  file=/tmp/$1/$(ls /tmp/$1 | wc -l).data
  dd if=/dev/urandom bs=64k count=16 of=$file 2>/dev/null && md5sum <$file >$file.sum && sync || echo "$1 takes no file"
  echo 3 >/proc/sys/vm/drop_caches
  [ "$(md5sum <$file)" = "$(cat $file.sum)" ] && echo "$1 has it" || echo "$1 lost it"
}
`;

/** Its end, and what it printed without its kernel's own words. */
async function ended(guest: ScriptGuest) {
  const { output, ...more } = await guest.end();
  return { ...more, printed: output.replace(/^\[ *\d+\.\d+\] .*\n/gm, "") };
}

/** What a guest prints that lives on so many disks, at its first or a later boot. */
function lives(disks: readonly string[], known: boolean): string {
  return disks.map((disk) => `${known ? `${disk} is known\n` : ""}${disk} has it\n`).join("");
}

test("guests live on disks of the program's own and behind NBD servers, and a source that throws is an I/O error", async () => {
  const peers = new NbdPeers();
  onTestFinished(() => peers.close());
  const exported = peers.file("exported.img");
  writeFileSync(exported, "");
  truncateSync(exported, 16 * MIB);
  const source = new MemorySource(16 * MIB);
  source.before.read = source.before.write = () => sleep(Math.random() * 4);
  const bad = new MemorySource(MIB);
  bad.before.read = (offset) => {
    if (offset === MIB / 2) throw hostSays("EIO");
  };
  const uri = (socket: string) => `nbd+unix:///?socket=${socket}`;
  const disks = ["vda", "vdb", "vdc"];
  await using guest = await ScriptGuest.start(
    `${LIVES}
     live vda; live vdb; live vdc; umount /tmp/vd?
     dd if=/dev/vdd bs=4k count=1 iflag=direct of=/dev/null 2>/dev/null && echo "vdd begins"
     dd if=/dev/vdd bs=4k skip=128 count=1 iflag=direct of=/dev/null 2>/dev/null || echo "vdd ends"
     ask reset`,
    {
      cpus: 2,
      drives: [
        { source },
        { file: uri(await peers.qemuNbd("-f", "raw", exported)) },
        { file: uri(await peers.nbdkit("memory", "16M")) },
        { source: bad },
      ],
    },
  );
  await guest.says(/ask reset\r?\n/); // the whole line, or the reset cuts it
  await guest.vm.reset();
  await guest.says(/ask reset\r?\n/); // the whole line, or the reset cuts it
  guest.goOn();
  const { printed, status, errors, stats } = await ended(guest);
  const [first, second] = printed.split(/ask reset\n[\s\S]*?vmexit: init\n/);
  const end = "vdd begins\nvdd ends\n";
  expect(first).toBe(lives(disks, false) + end);
  expect(second).toBe(`${lives(disks, true)}${end}ask reset\n\n`);
  expect(status).toBe(0);
  expect(new Set(errors.map(({ code, device }) => `${device} ${code}`))).toEqual(
    new Set(["virtio-blk3 EIO"]),
  );
  expect(errors.map(({ message }) => message).join()).toMatch(/the host says EIO/);
  for (const drive of stats.drives.slice(0, 3)) {
    expect(drive.flushes).toBeGreaterThan(0);
    expect(drive.errors).toBe(0);
  }
  // What it wrote is where it belongs: ext2's magic number.
  for (const disk of [source.bytes, readFileSync(exported)]) expect(disk.readUInt16LE(1080)).toBe(0xef53);
});

test("cache=none and directsync, threads, snapshot and foreign images: a guest lives on each, and these stay as they were", async () => {
  using scratch = new Scratch();
  const folder = directFolder();
  const hash = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");
  const content = scratch.path("content.raw");
  writeFileSync(content, "");
  truncateSync(content, 16 * MIB);
  root("mke2fs", "-q", "-F", "-d", "/etc/dpkg", content);
  const [raw, qcow2, locked, kept] = [
    `${folder}/disk.raw`,
    `${folder}/disk.qcow2`,
    scratch.path("locked.vmdk"),
    scratch.path("kept.vdi"),
  ];
  writeFileSync(raw, "");
  truncateSync(raw, 12 * MIB);
  qemuImg("create", "-q", "-f", "qcow2", qcow2, "12M");
  for (const file of [locked, kept]) {
    qemuImg("convert", "-f", "raw", "-O", file.slice(-4).replace(".", ""), content, file);
  }
  const before = [locked, kept].map(hash);
  const disks = ["vda", "vdb", "vdc"];
  const options = {
    cpus: 2,
    drives: [
      { file: raw, format: "raw", cache: "none" },
      { file: qcow2, format: "qcow2", cache: "directsync", aio: "threads" },
      { file: kept, format: "vdi", snapshot: true },
      { file: locked, format: "vmdk", readOnly: true },
    ],
  } as const;
  await using guest = await ScriptGuest.start(
    `${LIVES}
       live vda; live vdb; live vdc
       mkdir /tmp/vdd && mount -t ext4 -o ro /dev/vdd /tmp/vdd && ls /tmp/vdd | grep origins
       cat /sys/block/vda/queue/write_cache /sys/block/vdb/queue/write_cache
       umount /tmp/vd?
       ask reset`,
    options,
  );
  await guest.says(/ask reset\r?\n/); // the whole line, or the reset cuts it
  await guest.vm.reset();
  await guest.says(/ask reset\r?\n/); // the whole line, or the reset cuts it
  guest.goOn();
  const { printed, status, errors } = await ended(guest);
  const [first, second] = printed.split(/ask reset\n[\s\S]*?vmexit: init\n/);
  const end = "origins\nwrite back\nwrite through\n";
  expect(first).toBe(lives(["vda", "vdb"], false) + lives(["vdc"], true) + end);
  expect(second).toBe(`${lives(disks, true)}${end}ask reset\n\n`);
  expect({ status, errors }).toEqual({ status: 0, errors: [] });
  expect([locked, kept].map(hash)).toEqual(before);
  expect(root("debugfs", "-R", "ls -l /", raw)).toMatch(/\.data/);

  // The next machine does not find what was written to a snapshot.
  await using next = await ScriptGuest.start(
    `${LIVES}\nmkdir /tmp/disk; mount -t ext4 /dev/vda /tmp/disk; ls /tmp/disk`,
    {
      drives: [{ file: kept, format: "vdi", snapshot: true }],
    },
  );
  expect((await next.end()).output).not.toMatch(/\.data/);
});
