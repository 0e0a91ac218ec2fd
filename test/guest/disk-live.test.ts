/**
 * Disks that change under a Linux guest that uses them: larger and smaller, and
 * snapshots of images that it writes, trims and verifies all the while.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { makeToolsDisk } from "../../bench/support/tools-disk.ts";
import { createQcow2 } from "../../dist/images/qcow2/create.js";
import { bootMs, Scratch, ScriptGuest } from "../support/guest.ts";
import { qemuCheck, qemuContents, qemuImg } from "../support/qemu-tools.ts";

const MIB = 2 ** 20;
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

/** `ask THING` waits until the test has done it. */
const ASK = 'ask() { echo "ask $1"; read -r answer; }\n';

test("a disk that gets larger, and smaller, is so for the guest at once: raw and qcow2", async () => {
  using scratch = new Scratch();
  const [raw, qcow2] = [scratch.path("disk.raw"), scratch.path("disk.qcow2")];
  writeFileSync(raw, Buffer.alloc(8 * MIB));
  createQcow2(qcow2, { size: 8 * MIB });
  await using guest = await ScriptGuest.start(
    `${ASK}
     sizes() { cat /sys/block/vda/size /sys/block/vdb/size; }
     # put and get LETTER: the last 64 KiB of 16 MiB
     put() { for disk in vda vdb; do dd if=/dev/zero bs=64k count=1 2>/dev/null | tr '\\0' "$1" | dd of=/dev/$disk bs=64k seek=255 iflag=fullblock oflag=direct conv=notrunc 2>/dev/null && echo "$disk takes it"; done; }
     get() { for disk in vda vdb; do dd if=/dev/$disk bs=64k skip=255 count=1 iflag=direct 2>/dev/null | tr -d "$1" | wc -c; done; }
     sizes; put a
     ask larger
     sizes; get '\\0'; put b; get b
     ask smaller
     sizes; put c
     ask larger-again
     sizes; get '\\0'; put d; get d
     dmesg | grep -c 'new size'`,
    {
      drives: [
        { file: raw, format: "raw" },
        { file: qcow2, format: "qcow2" },
      ],
    },
  );
  for (const [what, size] of [
    ["larger", 16],
    ["smaller", 4],
    ["larger-again", 16],
  ] as const) {
    await guest.says(`ask ${what}`);
    for (const drive of guest.vm.drives) await drive.resize(size * MIB);
    guest.goOn();
  }
  const { output, status, errors } = await guest.end();
  const both = (line: string) => [line, line];
  const taken = ["vda takes it", "vdb takes it"];
  expect(output.split("\n").filter((line) => line !== "")).toEqual([
    ...[...both("16384"), "ask larger"],
    ...[...both("32768"), ...both("0"), ...taken, ...both("0"), "ask smaller"],
    ...[...both("8192"), "ask larger-again"],
    ...[...both("32768"), ...both("0"), ...taken, ...both("0")],
    "6",
  ]);
  expect({ status, errors }).toEqual({ status: 0, errors: [] });
  for (const disk of [readFileSync(raw), qemuContents(qcow2)]) {
    expect(disk).toHaveLength(16 * MIB);
    expect(Buffer.alloc(65536, "d").equals(disk.subarray(16 * MIB - 65536))).toBe(true);
  }
  expect(qemuCheck(qcow2)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
});

const SIZE = 128 * MIB;
const PIECE = 65536;
/** Where on the first disk each of what goes on has its place. */
const SEQUENCE = 64 * MIB;
const SEQUENCE_PIECES = 16;
const MARK = 96 * MIB;

/** fio's two: random blocks of 4 KiB, and writes across clusters; each verifies all that it wrote. */
const FIO =
  "/mnt/fio --filename=/dev/vda --ioengine=libaio --direct=1 --thread --iodepth=8 --verify=crc32c --verify_fatal=1 --rw=randwrite " +
  `--name=random --bs=4k --size=${2 * MIB} --loops=2 ` +
  `--name=mixed --bsrange=512-128k --blockalign=512 --offset=${16 * MIB} --size=${6 * MIB} --verify_backlog=16`;

const BUSY = `${ASK}
mount -t ext4 -o ro /dev/vdc /mnt || exit 9
mkdir /tmp/disk && /mnt/mkfs.ext4 -q -F /dev/vdb >/dev/null 2>&1 && mount -t ext4 /dev/vdb /tmp/disk || exit 8
put() { yes "$2" | head -c $(($3*65536)) | dd of=/dev/vda bs=64k seek=$1 iflag=fullblock oflag=direct conv=notrunc 2>/dev/null || echo "cannot write $2"; }

# Piece after piece, each when the one before is written: what a snapshot has of it tells whether it is one moment.
sequence() {
  pass=100000
  until [ -e /tmp/done ]; do
    pass=$((pass+1)) piece=0
    while [ $piece -lt ${SEQUENCE_PIECES} ]; do put $((${SEQUENCE / PIECE}+piece)) "pass $pass" 1; piece=$((piece+1)); done
  done
  echo $pass >/tmp/passes
}
discards() {
  until [ -e /tmp/done ]; do
    put 512 gone 16
    blkdiscard -o ${32 * MIB} -l ${MIB} /dev/vda || echo "cannot discard"
    [ "$(dd if=/dev/vda bs=64k skip=512 count=16 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c)" = 0 ] || echo "a discard left something"
  done
}
files() {
  until [ -e /tmp/done ]; do
    dd if=/dev/urandom of=/tmp/disk/new bs=64k count=16 2>/dev/null
    sum=$(md5sum </tmp/disk/new)
    cp /tmp/disk/new /tmp/disk/copy && sync && rm /tmp/disk/new && fstrim /tmp/disk || echo "files failed"
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(md5sum </tmp/disk/copy)" = "$sum" ] || echo "a file changed"
  done
}

put ${MARK / PIECE} calm 16
echo calm >/tmp/disk/note; sync
ask calm
put ${MARK / PIECE} later 16
echo later >/tmp/disk/note
sequence & discards & files &
echo "busy now"
${FIO} >/tmp/log 2>&1 && echo "fio is content" || cat /tmp/log
touch /tmp/done; wait
${FIO} --verify_only >/tmp/log 2>&1 && echo "fio is still content" || cat /tmp/log
umount /tmp/disk
echo "size $(cat /sys/block/vda/size)"; [ "$(cat /tmp/passes)" -gt 100001 ] && echo "end of it"
`;

test("snapshots, other sizes and discards while the guest writes: each snapshot is one moment, and fio finds its data", {
  timeout: 2 * bootMs(),
}, async () => {
  using scratch = new Scratch();
  const [first, second, tools] = [scratch.path("a.qcow2"), scratch.path("b.qcow2"), scratch.path("tools")];
  createQcow2(first, { size: SIZE });
  createQcow2(second, { size: 32 * MIB, clusterSize: 16384, extendedL2: true });
  makeToolsDisk(tools, ["fio", "mkfs.ext4"]);
  await using guest = await ScriptGuest.start(BUSY, {
    cpus: 2,
    drives: [
      { file: first, format: "qcow2" },
      { file: second, format: "qcow2" },
      { file: tools, readOnly: true },
    ],
  });
  const drives = guest.vm.drives.slice(0, 2);
  await guest.says("ask calm");
  for (const drive of drives) await drive.createSnapshot("calm");
  guest.goOn();
  await guest.says("busy now");

  let busy = true;
  const content = guest.says(/fio is content\r?\n/).finally(() => {
    busy = false;
  });
  let rounds = 0;
  let size = SIZE;
  for (; busy; rounds++) {
    await sleep(300);
    for (const drive of drives) {
      await drive.createSnapshot(`wild ${rounds}`);
      // Of every three, two go again.
      if (rounds >= 4 && rounds % 3 !== 0) await drive.deleteSnapshot(`wild ${rounds - 4}`);
      expect((await drive.snapshots())[0].name).toBe("calm");
    }
    size = SIZE + (rounds % 4) * 24 * MIB;
    await drives[0].resize(size);
  }
  await content;
  const { output, status, errors } = await guest.end();
  expect(output).toBe(
    `ask calm\n\nbusy now\nfio is content\nfio is still content\nsize ${size / 512}\nend of it\n`,
  );
  expect({ status, errors }).toEqual({ status: 0, errors: [] });
  expect(rounds).toBeGreaterThan(4);

  for (const file of [first, second]) {
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  }
  const kept = Array.from({ length: rounds }, (_, n) => n).filter(
    (n) => !(n + 4 < rounds && (n + 4) % 3 !== 0),
  );
  for (const n of kept) {
    expectOneMoment(contentsOf(scratch, first, `wild ${n}`));
    expectFileSystem(contentsOf(scratch, second, `wild ${n}`));
  }
  const calm = readFileSync(contentsOf(scratch, first, "calm"));
  expect(Buffer.alloc(MIB, "calm\n").equals(calm.subarray(MARK, MARK + MIB))).toBe(true);
  calm.fill(0, MARK, MARK + MIB);
  // qemu-img copies as much as the disk has now.
  expect(calm.length).toBeGreaterThanOrEqual(SIZE);
  expect(calm.findIndex((byte) => byte !== 0)).toBe(-1);
  const fileSystem = contentsOf(scratch, second, "calm");
  expectFileSystem(fileSystem);
  expect(run("debugfs", "-R", "cat /note", fileSystem)).toBe("calm\n");
});

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", env: { ...process.env, PATH }, stdio: "pipe" });
}

/** A raw copy of a snapshot in an image; the next one takes its place. */
function contentsOf(scratch: Scratch, file: string, snapshot: string): string {
  const copy = scratch.path("snapshot.raw");
  qemuImg("convert", "-f", "qcow2", "-l", `snapshot.name=${snapshot}`, "-O", "raw", file, copy);
  return copy;
}

/** Each piece of the sequence is whole; of one pass up to some piece, and of the pass before from there on. */
function expectOneMoment(disk: string): void {
  const bytes = readFileSync(disk);
  const passes: number[] = [];
  for (let n = 0; n < SEQUENCE_PIECES; n++) {
    const piece = bytes.subarray(SEQUENCE + n * PIECE, SEQUENCE + (n + 1) * PIECE);
    const [, pass = "100000"] = /^pass (\d{6})\n/.exec(piece.toString("latin1", 0, 12)) ?? [];
    const line = pass === "100000" ? "\0" : `pass ${pass}\n`;
    expect(Buffer.alloc(PIECE, line).equals(piece)).toBe(true);
    passes.push(Number(pass));
  }
  const begun = passes.filter((pass) => pass === passes[0]).length;
  const expected = passes.map((_, n) => (n < begun ? passes[0] : passes[0] - 1));
  expect(passes).toEqual(expected);
}

/** The journal makes it whole, and nothing has to be repaired by a person. */
function expectFileSystem(disk: string): void {
  const { status, stdout } = spawnSync("e2fsck", ["-f", "-p", disk], {
    encoding: "utf8",
    env: { ...process.env, PATH },
  });
  expect({ stdout, mended: (status ?? 99) <= 1 }).toMatchObject({ mended: true });
}
