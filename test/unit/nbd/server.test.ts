/** The NBD server with qemu-io, qemu-img and libnbd's tools as its clients. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import type { DiskSource } from "../../../src/disk/disk-source.ts";
import { createImage } from "../../../src/image-tools/create-image.ts";
import { serveNbd } from "../../../src/image-tools/serve-nbd.ts";
import { openImage } from "../../../src/images/open-image.ts";
import { connectNbd } from "../../../src/nbd/connect.ts";
import type { NbdServer, ServeNbdOptions } from "../../../src/nbd/serve.ts";
import { client, makeCertificates, NbdPeers } from "../../support/nbd-peers.ts";
import { qemuCheck } from "../../support/qemu-tools.ts";

const peers = new NbdPeers();
const servers: NbdServer[] = [];
afterAll(async () => {
  for (const server of servers) await server.close();
  await peers.close();
});

const MIB = 2 ** 20;

/** A disk in memory. */
class BufferDisk implements DiskSource {
  readonly bytes: Buffer;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  async read(offset: number, views: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (const view of views) {
      view.set(this.bytes.subarray(at, at + view.length));
      at += view.length;
    }
  }

  async write(offset: number, views: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    for (const view of views) {
      this.bytes.set(view, at);
      at += view.length;
    }
  }
}

async function serve(
  disk: Parameters<typeof serveNbd>[0],
  options: Partial<Extract<ServeNbdOptions, { path: string }>> = {},
): Promise<NbdServer> {
  const server = await serveNbd(disk, { path: peers.socket(), ...options });
  servers.push(server);
  return server;
}

function qemuIo(server: NbdServer, ...commands: string[]) {
  return client("qemu-io", "-f", "raw", ...commands.flatMap((command) => ["-c", command]), server.uri);
}

test.each(["raw", "qcow2"] as const)(
  "qemu-io writes, zeroes, discards and reads back a served %s image",
  async (format) => {
    const path = peers.file(`disk.${format}`);
    createImage(path, { format, size: 64 * MIB });
    const image = openImage(path, { format });
    const server = await serve(image);
    const first = await qemuIo(
      server,
      "write -P 5 1M 2M",
      "write -f -P 6 512 512",
      "write -z 1536k 512k",
      "write -z -u 0 512",
      "discard 2M 64k",
      "flush",
      "read -P 5 1M 512k",
      "read -P 0 1536k 512k",
      "read -P 6 512 512",
      "read -P 0 1024 512k",
    );
    expect(first.output).not.toMatch(/fail|verification/i);
    await server.close();
    image.close();
    if (format === "qcow2") expect(qemuCheck(path)).toMatchObject({ corruptions: 0, leaks: 0 });
    const direct = await client(
      "qemu-io",
      "-f",
      format,
      "-c",
      "read -P 5 1M 512k",
      "-c",
      "read -P 6 512 512",
      path,
    );
    expect(direct.output).not.toMatch(/fail|verification/i);
  },
);

test("nbdcopy copies in and out over several connections, and qemu-img map sees the image's holes", async () => {
  const path = peers.file("copy.qcow2");
  createImage(path, { format: "qcow2", size: 16 * MIB });
  using image = openImage(path, { format: "qcow2" });
  const server = await serve(image, { exportName: "a b/ü", description: "a disk" });
  const original = Buffer.alloc(16 * MIB);
  for (let at = 3 * MIB; at < 5 * MIB; at++) original[at] = (at * 31) & 0xff;
  writeFileSync(peers.file("original"), original);
  expect((await client("nbdcopy", peers.file("original"), server.uri)).output).toBe("");
  expect((await client("nbdcopy", server.uri, peers.file("copied"))).output).toBe("");
  expect(readFileSync(peers.file("copied")).equals(original)).toBe(true);

  const { output } = await client("qemu-img", "map", "-f", "raw", "--output=json", server.uri);
  const runs: { start: number; zero: boolean; data: boolean }[] = JSON.parse(output);
  expect(runs.map(({ start, zero, data }) => [start / MIB, zero, data])).toEqual([
    [0, true, false],
    [3, false, true],
    [5, true, false],
  ]);
  const facts = JSON.parse((await client("nbdinfo", "--json", server.uri)).output).exports[0];
  expect(facts).toMatchObject({
    "export-name": "a b/ü",
    description: "a disk",
    can_fua: true,
    can_multi_conn: true,
  });
  expect((await client("nbdinfo", "--list", server.uri)).output).toContain('export="a b/ü"');
  const other = await client("nbdinfo", server.uri.replace(/\/\/\/[^?]*/, "///other"));
  expect(other.output).toContain("No such file or directory for export: other");
});

test("a read-only export is not written to, whatever the disk is", async () => {
  const disk = new BufferDisk(MIB);
  const server = await serve(disk, { readOnly: true });
  expect((await qemuIo(server, "write -P 1 0 512")).output).toContain("Permission denied");
  expect((await client("qemu-io", "-r", "-f", "raw", "-c", "read -P 0 0 512", server.uri)).status).toBe(0);
  // A client that does not care what the server said.
  const raw = new RawClient(server);
  await raw.take();
  expect((await raw.ask(1, 0, 512, Buffer.alloc(512, 1))).error).toBe(1);
  expect(disk.bytes[0]).toBe(0);
  raw.close();
});

test("what a program's disk throws is what the client sees", async () => {
  const full = new BufferDisk(MIB);
  full.write = async () => {
    throw Object.assign(new Error("full"), { code: "ENOSPC" });
  };
  expect((await qemuIo(await serve(full), "write 0 4k")).output).toContain("No space left on device");
  const broken = new BufferDisk(MIB);
  broken.read = async () => {
    throw new Error("something else");
  };
  expect((await qemuIo(await serve(broken), "read 0 4k")).output).toContain("Input/output error");
});

test("requests of one client are served together", async () => {
  const disk = new BufferDisk(MIB);
  let most = 0;
  let now = 0;
  disk.read = async () => {
    most = Math.max(most, ++now);
    await sleep(20);
    now--;
  };
  const ours = await connectNbd((await serve(disk)).uri);
  await Promise.all(Array.from({ length: 200 }, (_, n) => ours.read(n * 512, [Buffer.alloc(512)])));
  expect(most).toBe(64);
  await ours.close();
});

test("TLS with certificates on both sides, and none in the clear", async () => {
  const [folder, others] = [peers.file("pki"), peers.file("others")];
  for (const each of [folder, others]) {
    mkdirSync(each);
    makeCertificates(each);
  }
  const pem = (name: string) => readFileSync(`${folder}/${name}.pem`);
  const tls = { ca: pem("ca-cert"), cert: pem("server-cert"), key: pem("server-key"), requestCert: true };
  const disk = new BufferDisk(MIB);
  const server = await serve(disk, { tls });
  disk.bytes.fill(7, 0, 4096);
  const uri = (certificates: string) => `${server.uri}&tls-certificates=${certificates}`;
  const info = await client("nbdinfo", uri(folder));
  expect(info.output).toContain("with TLS");
  const copied = await client("nbdcopy", uri(folder), peers.file("secret"));
  expect(copied.output).toBe("");
  expect(readFileSync(peers.file("secret")).equals(disk.bytes)).toBe(true);
  const ours = await connectNbd(uri(folder));
  await ours.write(512, [Buffer.alloc(MIB - 512, 9)]);
  expect(disk.bytes[MIB - 1]).toBe(9);
  await ours.close();
  await expect(connectNbd(uri(others))).rejects.toThrow(/certificate/);
  expect((await client("nbdinfo", server.uri.replace("nbds", "nbd"))).output).toMatch(/TLS/i);

  // Somebody who trusts the server, but whom the server does not know.
  const stranger = {
    ca: tls.ca,
    cert: readFileSync(`${others}/client-cert.pem`),
    key: readFileSync(`${others}/client-key.pem`),
  };
  await expect(connectNbd(server.uri.replace("nbds", "nbd"), { tls: stranger })).rejects.toThrow();
});

test("over TCP, in the clear and with TLS, under the name that the server's certificate is for", async () => {
  const folder = peers.file("tcp-pki");
  mkdirSync(folder);
  makeCertificates(folder);
  const [cert, key] = ["cert", "key"].map((what) => readFileSync(`${folder}/server-${what}.pem`));
  const disk = new BufferDisk(MIB);
  for (const tls of [undefined, { cert, key }]) {
    const server = await serveNbd(disk, { exportName: "x", ...(tls && { tls }) });
    servers.push(server);
    const name = server.uri.replace(/\/\/.*:/, "//localhost:");
    expect(name).toMatch(tls ? /^nbds:\/\/localhost:\d+\/x$/ : /^nbd:\/\/localhost:\d+\/x$/);
    const ours = await connectNbd(tls ? `${name}?tls-certificates=${folder}` : name);
    const bytes = randomBytes(300 * 512);
    await ours.write(512, [bytes]);
    expect(disk.bytes.subarray(512, 512 + bytes.length).equals(bytes)).toBe(true);
    const back = Buffer.alloc(bytes.length);
    await ours.read(512, [back]);
    expect(back.equals(bytes)).toBe(true);
    await ours.close();
  }
});

test("more clients than allowed are turned away, and there is room again when one goes", async () => {
  const server = await serve(new BufferDisk(MIB), { maxConnections: 2 });
  const both = [await connectNbd(server.uri), await connectNbd(server.uri)];
  await expect(connectNbd(server.uri)).rejects.toThrow();
  await both[0].close();
  while (server.clients > 1) await sleep(1);
  await (await connectNbd(server.uri)).close();
  await both[1].close();
});

test("a client that does not open the export in time is disconnected", async () => {
  const errors: string[] = [];
  const server = await serve(new BufferDisk(MIB), {
    handshakeTimeoutMs: 100,
    onClientError: (error) => errors.push(error.message),
  });
  const raw = new RawClient(server);
  await raw.closed;
  expect(errors).toEqual([expect.stringContaining("did not open the export within 0.1 s")]);
});

test("closing the server disconnects clients and leaves nothing in flight", async () => {
  const disk = new BufferDisk(MIB);
  let done = false;
  disk.read = async () => {
    await sleep(100);
    done = true;
  };
  const server = await serve(disk);
  const ours = await connectNbd(server.uri);
  const read = ours.read(0, [Buffer.alloc(512)]);
  const failed = expect(read).rejects.toMatchObject({ code: "EIO" });
  await sleep(20);
  await server.close();
  expect(done).toBe(true);
  await failed;
  await ours.close();
});

test("what a request may not be is refused, and the client goes on", async () => {
  const raw = new RawClient(await serve(new BufferDisk(MIB)));
  await raw.take();
  const [READ, WRITE, FLUSH, TRIM, CACHE, ZEROES, STATUS] = [0, 1, 3, 4, 5, 6, 7];
  const refused: [number, number, number, number][] = [
    [READ, 0, 0, 22],
    [READ, 100, 512, 22],
    [READ, 0, 100, 22],
    [READ, MIB, 512, 22],
    [READ, 0, 0xffffffff, 22],
    [READ, 0, 2 ** 25 + 512, 22],
    [READ, 2 ** 63, 512, 22],
    [WRITE, MIB - 512, 1024, 28],
    [FLUSH, 512, 0, 22],
    [TRIM, 0, 2 ** 31, 22],
    [CACHE, 0, 512, 22],
    [ZEROES, MIB, 512, 28],
    [STATUS, 0, 512, 22],
    [99, 0, 512, 22],
  ];
  for (const [command, offset, length, error] of refused) {
    const data = command === WRITE ? Buffer.alloc(length) : undefined;
    expect(await raw.ask(command, offset, length, data)).toMatchObject({ error });
  }
  expect(await raw.ask(FLUSH, 0, 0)).toMatchObject({ error: 0 });
  raw.close();
});

test("a client that does not read its replies holds up itself, and not the server's memory", async () => {
  const disk = new BufferDisk(64 * MIB);
  let reads = 0;
  const read = disk.read.bind(disk);
  disk.read = async (offset, views) => {
    reads++;
    await read(offset, views);
  };
  const server = await serve(disk);
  const raw = new RawClient(server);
  await raw.take();
  raw.pause();
  for (let n = 0; n < 1000; n++) raw.request(0, 0, MIB);
  await sleep(300);
  // 32 MiB are held, and a socket's buffers besides.
  expect(reads).toBeLessThan(40);
  const ours = await connectNbd(server.uri);
  await ours.read(0, [Buffer.alloc(512)]);
  await ours.close();
  raw.close();
});

/** A client that sends what it likes. */
class RawClient {
  readonly #socket: Socket;
  readonly closed: Promise<void>;
  #bytes = Buffer.alloc(0);
  #more: () => void = () => {};

  constructor({ place }: NbdServer) {
    this.#socket = connect("path" in place ? place.path : "");
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#more();
    });
    this.closed = new Promise((resolve) => this.#socket.once("close", () => resolve()));
  }

  /** Takes the export the old way, so that replies are simple. */
  async take(): Promise<void> {
    const option = Buffer.alloc(20);
    option.writeUInt32BE(3, 0);
    option.write("IHAVEOPT", 4);
    option.writeUInt32BE(1, 12);
    this.#socket.write(option);
    await this.#next(18 + 10);
  }

  request(command: number, offset: number, length: number, data?: Buffer): void {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(0x25609513, 0);
    header.writeUInt16BE(command, 6);
    header.writeBigUInt64BE(BigInt(offset), 16);
    header.writeUInt32BE(length, 24);
    this.#socket.write(header);
    if (data !== undefined) this.#socket.write(data);
  }

  async ask(
    command: number,
    offset: number,
    length: number,
    data?: Buffer,
  ): Promise<{ readonly error: number }> {
    this.request(command, offset, length, data);
    return { error: (await this.#next(16)).readUInt32BE(4) };
  }

  pause(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }

  async #next(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      await new Promise<void>((resolve) => {
        this.#more = resolve;
      });
    }
    const bytes = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return bytes;
  }
}
