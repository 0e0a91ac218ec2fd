/** `vmexit img` on disks behind NBD servers, beside qemu-img on the same. The built command: it starts a thread. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { client, NbdPeers } from "../../../support/nbd-peers.ts";
import { withoutChildren } from "../../../support/old-qemu.ts";
import { qemuImg } from "../../../support/qemu-tools.ts";

const COMMAND = fileURLToPath(new URL("../../../../dist/bundle/main.js", import.meta.url));
const LIBRARY = fileURLToPath(new URL("../../../../dist/library/block.js", import.meta.url));
const img = (...args: string[]) => client(process.execPath, COMMAND, "img", ...args);

const peers = new NbdPeers();
afterAll(() => peers.close());

const sparse = `nbd+unix:///?socket=${await peers.nbdkit("sparse-random", "16M", "seed=5", "percent=30", "runlength=262144")}`;
/** QEMU writes names of its own making. */
const plain = (text: string) => text.replaceAll("nbd+unix://?socket", "nbd+unix:///?socket");

test.each([
  ["info"],
  ["info", "--output=json"],
  ["info", "--backing-chain"],
  ["map", "--output=json"],
  ["map"],
])("%s %s says what qemu-img says", async (...args) => {
  const { status, output } = await img(...args, sparse);
  expect(status).toBe(0);
  const theirs = plain(qemuImg(...args, sparse));
  const said = args[0] === "info" ? withoutChildren(output) : output;
  if (args[1] === "--output=json") expect(JSON.parse(said)).toEqual(JSON.parse(theirs));
  else expect(said).toBe(theirs);
});

test("convert reads a remote disk, and writes one that is there", async () => {
  const copy = peers.file("copy.qcow2");
  expect(await img("convert", "-O", "qcow2", sparse, copy)).toEqual({ status: 0, output: "" });
  expect(qemuImg("compare", sparse, copy)).toBe("Images are identical.\n");
  const empty = `nbd+unix:///?socket=${await peers.nbdkit("memory", "16M")}`;
  // What was there has to go, where the copy has nothing.
  execFileSync("qemu-io", ["-f", "raw", "-c", "write -P 9 0 16M", empty]);
  expect(await img("convert", "-n", "-O", "raw", copy, empty)).toEqual({ status: 0, output: "" });
  expect(qemuImg("compare", "-f", "raw", "-F", "raw", empty, sparse)).toBe("Images are identical.\n");
  expect((await img("compare", empty, copy)).output).toBe("Images are identical.\n");
});

test("compare finds the first sector that differs", async () => {
  const copy = peers.file("copy.raw");
  qemuImg("convert", "-O", "raw", sparse, copy);
  const bytes = readFileSync(copy);
  bytes[1_234_567] ^= 1;
  writeFileSync(copy, bytes);
  const offset = 1_234_567 - (1_234_567 % 512);
  expect(await img("compare", sparse, copy)).toEqual({
    status: 1,
    output: `Content mismatch at offset ${offset}!\n`,
  });
});

test("a server that dies in the middle is an error, and not the end of all time", async () => {
  const slow = `nbd+unix:///?socket=${await peers.nbdkit("--filter=delay", "memory", "16M", "delay-read=20")}`;
  const converted = img("convert", "-S", "0", slow, peers.file("never.raw"));
  await sleep(1000);
  await peers.kill();
  const { status, output } = await converted;
  expect(status).toBe(1);
  expect(output).toContain("EIO");
});

test.each<[string, string[], RegExp]>([
  ["a server that is not there", ["info", "nbd+unix:///?socket=/nowhere"], /ENOENT/],
  ["a name that is none", ["info", "nbd:x"], /not a name such as nbd:\/\/HOST/],
  ["qcow2 behind NBD", ["info", "-f", "qcow2", sparse], /let the server open the qcow2 image/],
  ["a new disk on a server", ["create", sparse, "1M"], /an NBD server cannot make disks/],
  ["another size", ["resize", "-f", "raw", sparse, "1G"], /does not support resize/],
])("%s: refused with a sentence", async (_what, args, why) => {
  const { status, output } = await img(...args);
  expect(status).toBe(1);
  expect(output).toMatch(why);
});

test("openImage opens a remote disk for a program that waits", async () => {
  const uri = `nbd+unix:///?socket=${await peers.nbdkit("memory", "8M")}`;
  const program = `
    import { openImage, readDisk, writeDisk, blockStatus } from ${JSON.stringify(LIBRARY)};
    const disk = openImage(${JSON.stringify(uri)});
    const bytes = new Uint8Array(3 * 2 ** 20 + 512).map((_, n) => n);
    writeDisk(disk, bytes, 512);
    const read = new Uint8Array(bytes.length);
    readDisk(disk, read, 512);
    console.log(disk.size, Buffer.compare(bytes, read), disk.flush(), disk.writeZeroes(512, 1024, true));
    readDisk(disk, read, 512);
    console.log(read.findIndex((byte) => byte !== 0), blockStatus(disk, 2 ** 22, 2 ** 20).zero);
    disk.close();
    console.log(disk.flush());
  `;
  const { output } = await client(process.execPath, "--input-type=module", "-e", program);
  expect(output).toBe("8388608 0 0 0\n1025 true\n-9\n");
});

test("a read-only export is opened for reading only", async () => {
  const uri = `nbd+unix:///?socket=${await peers.nbdkit("-r", "memory", "1M")}`;
  expect((await img("info", uri)).status).toBe(0);
  writeFileSync(peers.file("source.raw"), Buffer.alloc(2 ** 20));
  const { output } = await img("convert", "-n", "-f", "raw", "-O", "raw", peers.file("source.raw"), uri);
  expect(output).toContain("lets nobody write");
});
