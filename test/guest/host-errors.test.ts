/** A host without space: the guest and the program get an error, and stored data stays. */
import { spawn } from "node:child_process";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { bootMs, guestFile, Scratch } from "../support/guest.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));
const MIB = 2 ** 20;

/**
 * Runs the command with a limit on the size of files, in 512-byte units: what a
 * full file system is to a disk, without the need to make one.
 */
function runLimited(blocks: number, script: string, disk: string) {
  const append = `console=ttyS0 quiet vmexit.run=${Buffer.from(script).toString("base64")}`;
  const args = [
    ...[MAIN, "run", "-m", "256", "-kernel", guestFile("vmlinuz"), "-initrd", guestFile("initrd.img")],
    ...["-append", append, "-drive", `file=${disk},format=raw,if=virtio`, "-memory-backing", "anonymous"],
  ];
  const shell = ["-c", `ulimit -f ${blocks}; exec "$0" "$@"`, process.execPath, ...args];
  return new Promise<{ status: number | null; out: string; err: string }>((resolve) => {
    const child = spawn("/bin/sh", shell, { stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), bootMs());
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.on("close", (status) => {
      clearTimeout(timer);
      resolve({ status, out: out.replaceAll("\r", ""), err });
    });
  });
}

test("a write that the host refuses is an I/O error for the guest, and said to whoever runs it", async () => {
  using scratch = new Scratch();
  const disk = scratch.path("disk.img");
  writeFileSync(disk, "");
  truncateSync(disk, 8 * MIB);
  // Up to 2 MiB the file may grow; the third mebibyte has to fail, not the others.
  const { status, out, err } = await runLimited(
    (2 * MIB) / 512,
    `put() { dd if=/dev/zero bs=64k count=16 2>/dev/null | tr '\\0' "$1" | dd of=/dev/vda bs=64k seek=$2 count=16 iflag=fullblock oflag=direct conv=fsync,notrunc 2>/dev/null; }
     put a 0 && echo "first is stored"
     put b 16 && echo "second is stored"
     put c 32 || echo "third is refused"
     dd if=/dev/vda bs=64k skip=16 count=16 iflag=direct 2>/dev/null | tr -d b | wc -c
     put d 0 && echo "goes on"`,
    disk,
  );
  expect(out).toMatch(
    /first is stored\nsecond is stored\n[\s\S]*third is refused\n[\s\S]*0\n[\s\S]*goes on\n/,
  );
  expect(err).toMatch(/virtio-blk0.*EFBIG/);
  expect(status).toBe(0);
  const stored = readFileSync(disk);
  expect(stored.subarray(0, MIB).equals(Buffer.alloc(MIB, "d"))).toBe(true);
  expect(stored.subarray(MIB, 2 * MIB).equals(Buffer.alloc(MIB, "b"))).toBe(true);
});
