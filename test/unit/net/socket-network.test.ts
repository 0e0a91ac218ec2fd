import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type GuestLink, type Network, NO_OFFLOAD } from "../../../src/net/link.ts";
import { datagramNetwork, streamNetwork } from "../../../src/net/socket-network.ts";

/** A guest that keeps what it gets, as long as it has room. */
class FakeLink implements GuestLink {
  readonly mtu = 1500;
  readonly accepts = 0;
  readonly got: number[][] = [];
  room = Number.POSITIVE_INFINITY;

  send(head: Uint8Array, body: Uint8Array = new Uint8Array()): boolean {
    if (this.got.length >= this.room) return false;
    this.got.push([...head, ...body]);
    return true;
  }
}

const frame = (byte: number, length = 60) => new Uint8Array(length).fill(byte);
const record = (bytes: Uint8Array) =>
  Buffer.concat([Buffer.from([0, 0, bytes.length >> 8, bytes.length & 0xff]), bytes]);

async function unixPair(reconnectMs?: number) {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-socket-"));
  const place = { path: join(folder, "socket") };
  const [left, right] = [new FakeLink(), new FakeLink()];
  const server = await streamNetwork({ place, isServer: true })(left);
  const client = await streamNetwork({ place, isServer: false, reconnectMs })(right);
  const close = async () => {
    await Promise.all([client.close(), server.close()]);
    rmSync(folder, { recursive: true });
  };
  return { place, left, right, server, client, close };
}

test("two machines on a stream get each other's frames, whole and in order", async () => {
  const { left, right, server, client, close } = await unixPair();
  const lengths = [14, 60, 1514, 65_000, 15];
  await expect
    .poll(() => {
      server.input(frame(9), NO_OFFLOAD);
      return right.got.length; // the server knows of its client a little later
    })
    .toBeGreaterThan(0);
  for (const [n, length] of lengths.entries()) client.input(frame(n, length), NO_OFFLOAD);
  await expect.poll(() => left.got.length).toBe(5);
  expect(left.got.map((each) => [each[0], each.length])).toEqual(lengths.map((length, n) => [n, length]));
  await close();
});

test("a guest without room stops the stream and loses nothing", async () => {
  const { left, server, client, close } = await unixPair();
  left.room = 3;
  for (let n = 0; n < 200; n++) client.input(frame(n, 1000), NO_OFFLOAD);
  await expect.poll(() => left.got.length).toBe(3);
  left.room = Number.POSITIVE_INFINITY;
  await expect
    .poll(() => {
      server.room();
      return left.got.length;
    })
    .toBe(200);
  expect(left.got.map((each) => each[0])).toEqual(Array.from({ length: 200 }, (_, n) => n));
  await close();
});

test("what is not a frame's length ends the connection, and the next one is served", async () => {
  const { place, left, server, close, client } = await unixPair();
  await client.close();
  const dial = () =>
    new Promise<Socket>((resolve) => {
      const socket = createConnection(place, () => resolve(socket));
      socket.on("error", () => {});
    });
  await expect
    .poll(async () => {
      const socket = await dial();
      const closed = new Promise((resolve) => socket.once("close", () => resolve("closed")));
      socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
      return await closed;
    })
    .toBe("closed");
  const good = await dial();
  await expect
    .poll(() => {
      if (!good.destroyed) good.write(record(frame(5)));
      return left.got.length;
    })
    .toBeGreaterThan(0);
  good.destroy();
  await close();
  await server.close();
});

test("a connection that ended is tried again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-socket-"));
  const path = join(folder, "socket");
  const link = new FakeLink();
  const network: Network = await streamNetwork({ place: { path }, isServer: false, reconnectMs: 20 })(link);
  let connections = 0;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    if (++connections === 1) socket.destroy();
    else socket.write(record(frame(7)));
  });
  server.listen(path);
  await expect.poll(() => link.got.length).toBe(1);
  expect(connections).toBe(2);
  await network.close();
  server.close();
  rmSync(folder, { recursive: true });
});

test("a place that cannot be used is an error", async () => {
  const nowhere = { path: "/nonexistent/socket" };
  await expect(streamNetwork({ place: nowhere, isServer: false })(new FakeLink())).rejects.toThrow(/ENOENT/);
  await expect(streamNetwork({ place: nowhere, isServer: true })(new FakeLink())).rejects.toThrow();
});

test("a datagram is a frame", async () => {
  const [left, right] = [new FakeLink(), new FakeLink()];
  const [a, b] = [40_000 + (process.pid % 10_000), 50_000 + (process.pid % 10_000)];
  const at = (port: number) => ({ host: "127.0.0.1", port });
  const one = await datagramNetwork({ local: at(a), remote: at(b), isMulticast: false })(left);
  const two = await datagramNetwork({ local: at(b), remote: at(a), isMulticast: false })(right);
  one.input(frame(1, 1514), NO_OFFLOAD);
  two.input(frame(2), NO_OFFLOAD);
  await expect.poll(() => [left.got.length, right.got.length]).toEqual([1, 1]);
  expect([left.got[0].length, right.got[0].length]).toEqual([60, 1514]);
  await one.close();
  await two.close();
});

const hasQemu = spawnSync("qemu-system-x86_64", ["--version"]).status === 0;

test.skipIf(!hasQemu)("QEMU is at the other end: its user network answers an ARP request", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-qemu-"));
  const path = join(folder, "socket");
  const link = new FakeLink();
  const network = await streamNetwork({ place: { path }, isServer: true })(link);
  const qemu = spawn(
    "qemu-system-x86_64",
    [
      ...["-M", "none", "-accel", "tcg", "-display", "none", "-monitor", "none"],
      ...["-netdev", `stream,id=s,server=off,addr.type=unix,addr.path=${path}`],
      ...["-netdev", "user,id=u", "-netdev", "hubport,hubid=0,id=h,netdev=s"],
      ...["-netdev", "hubport,hubid=0,id=i,netdev=u"],
    ],
    { stdio: "ignore" },
  );
  try {
    const ask = Buffer.from(
      "ffffffffffff52540012345608060001080006040001" + "5254001234560a00020f0000000000000a000202",
      "hex",
    );
    await expect
      .poll(
        () => {
          network.input(ask, NO_OFFLOAD);
          return link.got.length;
        },
        { timeout: 30_000 },
      )
      .toBeGreaterThan(0);
    // An answer from the gateway, whose address is 52:55 and its IPv4 address.
    expect(link.got[0].slice(0, 14)).toEqual([
      0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x52, 0x55, 10, 0, 2, 2, 8, 6,
    ]);
  } finally {
    qemu.kill();
    await network.close();
    rmSync(folder, { recursive: true });
  }
});
