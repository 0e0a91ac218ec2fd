/** The NBD client with nbdkit and qemu-nbd as its servers. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { connectNbd } from "../../../src/nbd/connect.ts";
import type { NbdDisk } from "../../../src/nbd/nbd-disk.ts";
import { makeCertificates, NbdPeers } from "../../support/nbd-peers.ts";
import { qemuImg } from "../../support/qemu-tools.ts";
import { random } from "../../support/random.ts";

const peers = new NbdPeers();
afterAll(() => peers.close());

const MIB = 2 ** 20;

async function contents(disk: NbdDisk): Promise<Buffer> {
  const bytes = Buffer.alloc(disk.size);
  await disk.read(0, [bytes]);
  return bytes;
}

/** Cuts bytes into views at random sectors. */
function cut(bytes: Buffer, next: () => number): Buffer[] {
  const views: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(bytes.length - at, 512 * (1 + Math.floor(next() * 40)));
    views.push(bytes.subarray(at, at + length));
    at += length;
  }
  return views;
}

const POLICY = ["--filter=blocksize-policy", "memory", "2M", "blocksize-error-policy=error"];

test.each<[string, string[]]>([
  ["that takes any bytes", ["memory", "2M"]],
  ["with simple replies only", ["--no-sr", "memory", "2M"]],
  ["that takes whole blocks of 4 KiB", [...POLICY, "blocksize-minimum=4096", "blocksize-preferred=4096"]],
  [
    "with blocks of 64 KiB, one at a time",
    [...POLICY, "blocksize-minimum=64k", "blocksize-preferred=64k", "blocksize-maximum=64k"],
  ],
  ["without WRITE_ZEROES", ["--filter=nozero", "memory", "2M"]],
])("random requests, four at once, leave what they should at a server %s", async (_what, args) => {
  const disk = await connectNbd({ path: await peers.nbdkit(...args) });
  const model = Buffer.alloc(disk.size);
  const next = random(args.length);
  const sectors = disk.size / 512;
  /** Each lane has every fourth 16 KiB to itself, so that requests of different lanes never overlap, but blocks may. */
  const lane = async (n: number) => {
    for (let round = 0; round < 60; round++) {
      const first = 32 * (n + 4 * Math.floor(next() * (sectors / 128))) + Math.floor(next() * 16);
      const [offset, length] = [first * 512, 512 * (1 + Math.floor(next() * 16))];
      const kind = Math.floor(next() * 3);
      const part = model.subarray(offset, offset + length);
      if (kind === 0) {
        const bytes = Buffer.alloc(length, Math.floor(next() * 255) + 1);
        bytes.copy(part);
        await disk.write(offset, cut(bytes, next));
      } else if (kind === 1) {
        part.fill(0);
        await disk.writeZeroes(offset, length, next() < 0.5);
      } else {
        const bytes = Buffer.alloc(length, 0xee);
        await disk.read(offset, cut(bytes, next));
        expect(bytes.equals(part)).toBe(true);
      }
    }
  };
  await Promise.all([0, 1, 2, 3].map(lane));
  await disk.flush();
  expect((await contents(disk)).equals(model)).toBe(true);
  await disk.close();
});

test("a sparse disk has the bytes and the holes that libnbd's tools find in it", async () => {
  const path = await peers.nbdkit("sparse-random", "32M", "seed=7", "percent=50", "runlength=1048576");
  const uri = `nbd+unix:///?socket=${path}`;
  const disk = await connectNbd(uri);
  execFileSync("nbdcopy", [uri, peers.file("sparse")]);
  expect((await contents(disk)).equals(readFileSync(peers.file("sparse")))).toBe(true);

  const holes: { offset: number; length: number; type: number }[] = JSON.parse(
    execFileSync("nbdinfo", ["--map", "--json", uri], { encoding: "utf8" }),
  );
  const zeroAt = (offset: number) =>
    holes.some((each) => each.type === 3 && offset >= each.offset && offset < each.offset + each.length);
  let extents = 0;
  for (let at = 0; at < disk.size; extents++) {
    const { length, zero, hole } = await disk.extentAt(at, disk.size - at);
    expect(zero && hole).toBe(zeroAt(at));
    expect(zeroAt(at + length - 1)).toBe(zeroAt(at));
    at += length;
  }
  expect(extents).toBeGreaterThan(1);
  await disk.close();
});

test.each(["ENOSPC", "EPERM", "ENOMEM", "EIO"])("a server's %s is the device's", async (code) => {
  const disk = await connectNbd({
    path: await peers.nbdkit("--filter=error", "memory", "1M", `error=${code}`, "error-pwrite-rate=1"),
  });
  await expect(disk.write(0, [Buffer.alloc(512)])).rejects.toMatchObject({ code });
  await disk.read(0, [Buffer.alloc(512)]); // one failure ends nothing
  await disk.close();
});

test("requests are in flight together: eight that take 0.3 s each take less than 1 s", async () => {
  const disk = await connectNbd({
    path: await peers.nbdkit("--filter=delay", "memory", "1M", "rdelay=300ms"),
  });
  const start = performance.now();
  await Promise.all(Array.from({ length: 8 }, (_, n) => disk.read(n * 4096, [Buffer.alloc(4096)])));
  expect(performance.now() - start).toBeLessThan(1000);
  await disk.close();
});

test("a server that dies fails requests in flight, and all later ones, with EIO", async () => {
  const disk = await connectNbd({
    path: await peers.nbdkit("--filter=delay", "memory", "1M", "delay-read=60"),
  });
  const reads = [0, 4096].map((at) => disk.read(at, [Buffer.alloc(4096)]));
  const ends = Promise.allSettled(reads);
  await peers.kill();
  for (const end of await ends) expect(end).toMatchObject({ status: "rejected", reason: { code: "EIO" } });
  await expect(disk.write(0, [Buffer.alloc(512)])).rejects.toThrow("the connection is lost");
  await disk.close();
});

test("with patience, a server that comes back is asked again, and the requests never fail", async () => {
  const file = peers.file("lasting.raw");
  writeFileSync(file, Buffer.alloc(MIB));
  const args = ["--filter=delay", "file", file, "delay-read=200ms"];
  const path = await peers.nbdkit(...args);
  const disk = await connectNbd({ path }, { reconnectDelayMs: 20_000 });
  await disk.write(0, [Buffer.alloc(4096, 5)]);
  const bytes = [Buffer.alloc(4096), Buffer.alloc(4096)];
  const reads = bytes.map((each, n) => disk.read(n * 2048, [each]));
  await peers.kill();
  const written = disk.write(4096, [Buffer.alloc(4096, 6)]);
  await peers.nbdkitAt(path, ...args);
  await Promise.all([...reads, written]);
  expect(bytes.map((each) => [each[0], each[4095]])).toEqual([
    [5, 5],
    [5, expect.any(Number)],
  ]);
  expect((await contents(disk)).subarray(4090, 4100)).toEqual(Buffer.from([5, 5, 5, 5, 5, 5, 6, 6, 6, 6]));
  await disk.close();
});

test("a server that comes back with another disk, or not at all, is waited for so long and no longer", async () => {
  const path = await peers.nbdkit("memory", "1M");
  const disk = await connectNbd({ path }, { reconnectDelayMs: 300 });
  await peers.kill();
  await expect(disk.read(0, [Buffer.alloc(512)])).rejects.toThrow("ECONNREFUSED");
  await peers.nbdkitAt(path, "memory", "2M");
  await expect(disk.read(0, [Buffer.alloc(512)])).rejects.toThrow("it came back with another disk");
  await peers.kill();
  await peers.nbdkitAt(path, "memory", "1M");
  await disk.read(0, [Buffer.alloc(512)]);
  await disk.close();
});

test("an export that ends within a sector reads as zeros behind, and does not lose what is written there", async () => {
  const disk = await connectNbd({ path: await peers.nbdkit("memory", "1000") });
  expect(disk.size).toBe(1024);
  const bytes = Buffer.alloc(1024, 1);
  await expect(disk.write(0, [bytes])).rejects.toMatchObject({ code: "ENOSPC" });
  bytes.fill(0, 1000);
  await disk.write(0, [bytes]);
  expect((await contents(disk)).equals(bytes)).toBe(true);
  await disk.close();
});

test("qemu-nbd's exports: by name, read-only, and those that are not there", async () => {
  const image = peers.file("image.qcow2");
  qemuImg("create", "-f", "qcow2", image, "4M");
  const path = await peers.qemuNbd("-f", "qcow2", "-x", "a disk/1", "-e", "4", "-r", image);
  const disk = await connectNbd(`nbd+unix:///a%20disk/1?socket=${path}`);
  expect(disk).toMatchObject({ size: 4 * MIB, readOnly: true });
  await disk.close();
  await expect(connectNbd({ path, export: "other" })).rejects.toThrow('it has no export "other"');
  await (await connectNbd(`nbd:unix:${path}:exportname=a disk/1`)).close();
});

test("a server that is not an NBD server is detected, and so is one that does not answer", async () => {
  const { createServer } = await import("node:net");
  const path = peers.socket();
  const server = createServer((socket) =>
    socket.on("error", () => {}).write("HTTP/1.1 400 Bad Request\r\n\r\n"),
  );
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await expect(connectNbd({ path })).rejects.toThrow("this is not an NBD server");
  server.close();
  const silent = peers.socket();
  const mute = createServer((socket) => socket.on("error", () => {}));
  await new Promise<void>((resolve) => mute.listen(silent, resolve));
  await expect(connectNbd({ path: silent }, { timeoutMs: 200 })).rejects.toThrow("no disk within 0.2 s");
  mute.close();
  await expect(connectNbd({ path: peers.socket() })).rejects.toThrow("ENOENT");
});

test("TLS: the server's certificate is checked, the client's is shown, and nothing goes in the clear", async () => {
  const [folder, others] = [peers.file("pki"), peers.file("other-pki")];
  for (const each of [folder, others]) {
    mkdirSync(each);
    makeCertificates(each);
  }
  const path = await peers.nbdkit(
    "--tls=require",
    "--tls-verify-peer",
    `--tls-certificates=${folder}`,
    "memory",
    "1M",
  );
  const uri = (certificates: string) => `nbds+unix:///?socket=${path}&tls-certificates=${certificates}`;
  const disk = await connectNbd(uri(folder));
  const bytes = Buffer.alloc(300_032, 9);
  await disk.write(512, [bytes]);
  expect((await contents(disk)).subarray(512, 512 + bytes.length).equals(bytes)).toBe(true);
  await disk.close();
  await expect(connectNbd(uri(others))).rejects.toThrow(/certificate/);
  await expect(connectNbd(`${uri(folder)}&tls-hostname=elsewhere.example`)).rejects.toThrow(/altnames/);
  await expect(connectNbd({ path })).rejects.toThrow("it wants TLS");
  const plain = await peers.nbdkit("memory", "1M");
  await expect(connectNbd({ path: plain }, { tls: {} })).rejects.toThrow("it does not support TLS");
});

test("requests outside the disk are refused here", async () => {
  const disk = await connectNbd({ path: await peers.nbdkit("memory", "1M") });
  for (const offset of [-512, MIB, Number.NaN]) {
    await expect(disk.read(offset, [Buffer.alloc(512)])).rejects.toMatchObject({ code: "EINVAL" });
  }
  await expect(disk.writeZeroes(512, MIB, true)).rejects.toMatchObject({ code: "EINVAL" });
  await disk.close();
});

test("the disk that two tools have written is the same", async () => {
  const file = peers.file("disk.raw");
  writeFileSync(file, Buffer.alloc(MIB));
  const path = await peers.qemuNbd("-f", "raw", "-e", "2", file);
  const disk = await connectNbd({ path });
  await disk.write(4096, [Buffer.alloc(4096, 3)]);
  await disk.flush();
  execFileSync("qemu-io", [
    "-f",
    "raw",
    "-c",
    "read -P 3 4k 4k",
    "-c",
    "write -P 4 8k 4k",
    `nbd+unix:///?socket=${path}`,
  ]);
  const seen = await contents(disk);
  expect([seen[4096], seen[8192], seen[12288]]).toEqual([3, 4, 0]);
  await disk.close();
});
