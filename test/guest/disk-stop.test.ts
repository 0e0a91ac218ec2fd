/**
 * Hosts that run out of room, or lose an image for a while, under guests whose drives
 * say stop or enospc: the machine pauses, somebody helps, and the guest never knows.
 *
 * In the lab only, which has a file system that can be made small.
 */
import { spawn } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { createQcow2 } from "../../dist/images/qcow2/create.js";
import { bootMs, guestFile, Scratch, ScriptGuest } from "../support/guest.ts";
import { inLab, smallFileSystem } from "../support/lab-host.ts";
import { qemuCheck, qemuContents } from "../support/qemu-tools.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));
const MIB = 2 ** 20;
/** What the guest writes to each disk, and only a part of it finds room at first. */
const DATA = 3 * MIB;

/** A file system in which files of these names take DATA bytes each until they are removed, and 2 MiB are left. */
function fullFileSystem(scratch: Scratch, ...ballast: string[]) {
  const small = smallFileSystem(scratch.path("small"), `${2 * MIB + ballast.length * DATA}`);
  for (const name of ballast) writeFileSync(`${small.folder}/${name}`, Buffer.alloc(DATA));
  return small;
}

const LINE = 256;

/** Line n of what `write` writes says n: a block that is lost or astray is seen. */
const WRITES = `
lines() { awk 'BEGIN { for (n = 1; n <= ${DATA / LINE}; n++) printf "%0${LINE - 1}d\\n", n }'; }
# write DISK: through the guest's page cache, so that many requests are in flight
write() { lines | dd of=/dev/$1 bs=256k iflag=fullblock conv=fsync,notrunc 2>/dev/null && echo "$1 is written"; }
same() { echo 3 >/proc/sys/vm/drop_caches; [ "$(dd if=/dev/$1 bs=256k count=${DATA / 262144} 2>/dev/null | md5sum)" = "$(lines | md5sum)" ] && echo "$1 is right"; }
`;

function lines(): Buffer {
  const all = Buffer.alloc(DATA);
  for (let n = 0; n * LINE < DATA; n++) all.write(`${`${n + 1}`.padStart(LINE - 1, "0")}\n`, n * LINE);
  return all;
}

/** What `write` should have written to a qcow2 image that is where there is little room. */
function contents(scratch: Scratch, image: string): Uint8Array {
  const copy = scratch.path("copy.qcow2");
  copyFileSync(image, copy);
  return qemuContents(copy).subarray(0, DATA);
}

test.skipIf(!inLab)(
  "a host without room: the machine pauses, room is made, and the guest's writes are whole, raw and qcow2",
  async () => {
    using scratch = new Scratch();
    using full = fullFileSystem(scratch, "first", "second");
    const [raw, qcow2] = [`${full.folder}/disk.raw`, `${full.folder}/disk.qcow2`];
    writeFileSync(raw, "");
    truncateSync(raw, 8 * MIB);
    createQcow2(qcow2, { size: 8 * MIB });
    await using guest = await ScriptGuest.start(
      `${WRITES}
       write vda; write vdb; same vda; same vdb`,
      {
        cpus: 2,
        drives: [
          { file: raw, format: "raw", werror: "stop" },
          { file: qcow2, format: "qcow2", werror: "enospc" },
        ],
      },
    );
    for (const ballast of ["first", "second"]) {
      await guest.paused();
      expect(guest.vm.state).toBe("paused");
      // No help yet: it pauses again.
      const again = guest.paused();
      await guest.vm.resume();
      await again;
      rmSync(`${full.folder}/${ballast}`);
      await guest.vm.resume();
    }
    const { output, status, errors, stats } = await guest.end();
    expect(output).toBe("vda is written\nvdb is written\nvda is right\nvdb is right\n");
    expect(status).toBe(0);
    expect(errors.map(({ code, device }) => `${device} ${code}`)).toEqual([
      ...["virtio-blk0 ESTOP", "virtio-blk0 ESTOP"],
      ...["virtio-blk1 ESTOP", "virtio-blk1 ESTOP"],
    ]);
    expect(stats.drives.map((drive) => drive.errors)).toEqual([0, 0]);
    expect(readFileSync(raw).subarray(0, DATA).equals(lines())).toBe(true);
    expect(lines().equals(contents(scratch, qcow2))).toBe(true);
    expect(qemuCheck(qcow2)).toMatchObject({ corruptions: 0, leaks: 0, errors: 0 });
  },
);

/** Runs the command on a terminal of its own, by script(1), with somebody who reads and types. */
function onTerminal(...args: string[]) {
  const command = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), bootMs());
  let output = "";
  let look = () => {};
  child.stdout.on("data", (chunk) => {
    output += chunk;
    look();
  });
  return {
    type: (text: string) => child.stdin.write(text),
    /** Waits for a text, `times` of it. */
    says: (text: string, times = 1) =>
      new Promise<void>((resolve, reject) => {
        look = () => {
          if (output.split(text).length > times) resolve();
        };
        look();
        child.once("close", () => reject(new Error(`it ended, and never said ${text}: ${output}`)));
      }),
    ended: new Promise<{ status: number | null; output: string }>((resolve) => {
      child.on("close", (status) => {
        clearTimeout(timer);
        resolve({ status, output: output.replaceAll("\r", "") });
      });
    }),
  };
}

test.skipIf(!inLab)(
  "vmexit run: says that the machine pauses and how it goes on; Ctrl-A r does that",
  async () => {
    using scratch = new Scratch();
    using full = fullFileSystem(scratch, "first", "second");
    const disk = `${full.folder}/disk.qcow2`;
    createQcow2(disk, { size: 8 * MIB });
    const run = Buffer.from(`${WRITES}\nwrite vda; same vda`).toString("base64");
    const terminal = onTerminal(
      ...["run", "-m", "256", "-kernel", guestFile("vmlinuz"), "-initrd", guestFile("initrd.img")],
      ...["-append", `console=ttyS0 quiet vmexit.run=${run}`],
      ...["-drive", `file=${disk},format=qcow2,werror=stop`],
    );
    const advice = "Ctrl-A r resumes it.";
    await terminal.says(advice);
    terminal.type("\x01r");
    await terminal.says(advice, 2);
    rmSync(`${full.folder}/first`);
    terminal.type("\x01r");
    const { status, output } = await terminal.ended;
    expect(output).toMatch(/virtio-blk0: \w+ .*failed: ENOSPC.*The machine pauses/);
    expect(output).toMatch(/vda is written\nvda is right\n/);
    expect(status).toBe(0);
    expect(lines().equals(contents(scratch, disk))).toBe(true);
    expect(qemuCheck(disk)).toMatchObject({ corruptions: 0, errors: 0 });
  },
);
