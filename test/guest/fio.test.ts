/**
 * fio in a guest over qcow2: what it writes at random, through several queues, is
 * there when it reads again, and after a reboot; discarded storage is freed; and
 * QEMU finds the image whole.
 *
 * What happens to an image while its guest writes (snapshots, another size) belongs
 * here too: between `start` of a guest that runs VERIFIED and its end.
 */
import { rmSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeToolsDisk } from "../../bench/support/tools-disk.ts";
import { type CreateOptions, createQcow2 } from "../../dist/images/qcow2/create.js";
import { bootMs, runScript, Scratch } from "../support/guest.ts";
import { qemuCheck } from "../support/qemu-tools.ts";

const MIB = 2 ** 20;
const CPUS = 2;
/** Bytes that each of fio's jobs has for itself, one job a CPU. */
const PART = 4 * MIB;
const SIZE = 128 * MIB;

const scratch = new Scratch();
const tools = scratch.path("tools.img");
beforeAll(() => makeToolsDisk(tools, ["fio", "mkfs.ext4", "fstrim"]), bootMs());
afterAll(() => scratch[Symbol.dispose]());

const MOUNT = "mount -t ext4 -o ro /dev/vdb /mnt || exit 9";

/** Random writes of 4 KiB all over, in any order, each block with a checksum of its own. */
const RANDOM =
  "--name=random --filename=/dev/vda --ioengine=libaio --direct=1 --thread --rw=randwrite --bs=4k --iodepth=16 " +
  `--numjobs=${CPUS} --size=${PART} --offset_increment=${32 * MIB} --verify=crc32c --verify_fatal=1 --randrepeat=1`;

/** Writes that cross clusters, verified while they are written. */
const MIXED =
  "--name=mixed --filename=/dev/vda --ioengine=libaio --direct=1 --thread --rw=randwrite --bsrange=512-192k --iodepth=8 " +
  `--offset=${16 * MIB} --size=${8 * MIB} --verify=crc32c --verify_fatal=1 --verify_backlog=64 --blockalign=512`;

function withImage(name: string, options: CreateOptions) {
  const file = scratch.path(`${name}.qcow2`);
  rmSync(file, { force: true }); // of a guest that the lab's emulator reset
  createQcow2(file, options);
  return {
    file,
    machine: {
      cpus: CPUS,
      drives: [
        { file, format: "qcow2" as const },
        { file: tools, readOnly: true },
      ],
    },
  };
}

test.each<[string, CreateOptions]>([
  ["clusters", { size: SIZE }],
  [
    "overlay",
    { size: SIZE, clusterSize: 16384, extendedL2: true, backingFile: "base.raw", backingFormat: "raw" },
  ],
])(
  "what fio wrote through several queues verifies at once, and after a reboot: %s",
  async (name, options) => {
    writeFileSync(scratch.path("base.raw"), Buffer.alloc(48 * MIB, 0x77));
    const { file, machine } = withImage(name, options);
    const first = await runScript(
      `${MOUNT}
       ls /sys/block/vda/mq | wc -l
       /mnt/fio ${RANDOM} >/tmp/log 2>&1 && echo "random is right" || cat /tmp/log
       /mnt/fio ${MIXED} >/tmp/log 2>&1 && echo "mixed is right" || cat /tmp/log`,
      machine,
    );
    expect(first.output).toBe(`${CPUS}\nrandom is right\nmixed is right\n`);
    expect(first).toMatchObject({ status: 0, ending: { reason: "poweroff" }, errors: [] });
    expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });

    const second = await runScript(
      `${MOUNT}
       /mnt/fio ${RANDOM} --verify_only >/tmp/log 2>&1 && echo "still right" || cat /tmp/log`,
      machine,
    );
    expect(second.output).toBe("still right\n");
    expect(second.errors).toEqual([]);
  },
);

test("files that are deleted and trimmed leave the image small, and those that stay are whole", async () => {
  const { file, machine } = withImage("trim", { size: SIZE });
  const { output, errors } = await runScript(
    `${MOUNT}
     /mnt/mkfs.ext4 -q -F -E nodiscard /dev/vda >/tmp/log 2>&1 || cat /tmp/log
     mkdir /tmp/disk && mount -t ext4 /dev/vda /tmp/disk
     dd if=/dev/urandom of=/tmp/disk/stays bs=64k count=64 2>/dev/null
     before=$(md5sum </tmp/disk/stays)
     dd if=/dev/urandom of=/tmp/disk/goes bs=1M count=48 2>/dev/null; sync
     stat -c %b /tmp/disk/goes >/dev/null; rm /tmp/disk/goes; sync
     /mnt/fstrim /tmp/disk && echo trimmed
     echo 3 >/proc/sys/vm/drop_caches
     [ "$(md5sum </tmp/disk/stays)" = "$before" ] && echo whole
     umount /tmp/disk
     blkdiscard -o ${64 * MIB} -l ${MIB} /dev/vda && echo discarded`,
    machine,
  );
  expect(output).toBe("trimmed\nwhole\ndiscarded\n");
  expect(errors).toEqual([]);
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  // 48 MiB came and went.
  expect(statSync(file).blocks * 512).toBeLessThan(24 * MIB);
});
