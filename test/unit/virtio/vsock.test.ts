/** Streams between a guest and the program: a driver's queues at one end, Node streams at the other. */
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import {
  OP_CREDIT_REQUEST,
  OP_CREDIT_UPDATE,
  OP_REQUEST,
  OP_RESPONSE,
  OP_RST,
  OP_RW,
  OP_SHUTDOWN,
} from "../../../src/net/vsock/packet.ts";
import type { VsockStream } from "../../../src/net/vsock/vsock-stream.ts";
import { random } from "../../support/random.ts";
import { CID, VsockRig } from "../../support/vsock-rig.ts";

let rig: VsockRig | undefined;
const start = () => {
  rig = new VsockRig();
  return rig;
};
afterEach(() => rig?.close());

/** The guest has connected to port 1024 of the host. */
function accepted(more: { allowHalfOpen?: boolean; bufAlloc?: number } = {}) {
  const rig = start();
  const streams: VsockStream[] = [];
  rig.host.listen(1024, (stream) => streams.push(stream), more);
  rig.send({ op: OP_REQUEST, hostPort: 1024, bufAlloc: more.bufAlloc ?? 1 << 18 });
  const [stream] = streams;
  stream.on("error", () => {});
  const [response] = rig.received();
  expect(response).toMatchObject({ op: OP_RESPONSE, hostPort: 1024, guestPort: 5000, bufAlloc: 262_144 });
  return { rig, stream };
}

test("the guest reads its address", () => {
  expect(start().plugged.read(0x100)).toBe(CID);
});

test("a connection of the guest: data in both directions, and its end", async () => {
  const { rig, stream } = accepted({ allowHalfOpen: true });
  rig.send({ op: OP_RW, hostPort: 1024, data: Buffer.from("from the guest") });
  expect(String((await once(stream, "data"))[0])).toBe("from the guest");
  stream.write("from the host");
  expect(rig.received().map(({ op, data }) => [op, String(data)])).toEqual([[OP_RW, "from the host"]]);
  rig.send({ op: OP_SHUTDOWN, hostPort: 1024, flags: 2 });
  await once(stream, "end");
  // Half-closed: this side still sends.
  stream.end("more");
  await once(stream, "close");
  expect(rig.received().map(({ op, flags, data }) => [op, flags, String(data)])).toEqual([
    [OP_RW, 0, "more"],
    [OP_SHUTDOWN, 2, ""],
    [OP_SHUTDOWN, 3, ""],
  ]);
});

test("a guest that closes its socket is answered with a reset, and what it sent before is read", async () => {
  const { rig, stream } = accepted();
  rig.send({ op: OP_RW, hostPort: 1024, data: Buffer.from("last words") });
  rig.send({ op: OP_SHUTDOWN, hostPort: 1024, flags: 3 });
  expect(rig.received().map(({ op }) => op)).toEqual([OP_RST]);
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(stream, "close");
  expect(String(Buffer.concat(chunks))).toBe("last words");
});

test("a connection to the guest is accepted, or refused", async () => {
  const rig = start();
  const stream = rig.host.connect(22);
  const [request] = rig.received();
  expect(request).toMatchObject({ op: OP_REQUEST, guestPort: 22 });
  const connected = once(stream, "connect");
  rig.send({ op: OP_RESPONSE, hostPort: request.hostPort, guestPort: 22 });
  await connected;
  stream.destroy();
  await once(stream, "close");
  expect(rig.received().map(({ op }) => op)).toEqual([OP_RST]);
  const other = rig.host.connect(23);
  const [{ hostPort }] = rig.received();
  rig.send({ op: OP_RST, hostPort, guestPort: 23 });
  await expect(once(other, "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
});

test("nothing is sent before the guest has accepted", () => {
  const rig = start();
  const stream = rig.host.connect(22);
  stream.on("error", () => {});
  stream.write("early");
  const [request, ...more] = rig.received();
  expect(more).toEqual([]);
  rig.send({ op: OP_RESPONSE, hostPort: request.hostPort, guestPort: 22 });
  expect(rig.received().map(({ data }) => String(data))).toEqual(["early"]);
});

test("a packet for a connection that does not exist is answered with a reset, and a reset is not", () => {
  const rig = start();
  rig.send({ op: OP_RW, hostPort: 9, data: Buffer.from("x") });
  rig.send({ op: OP_REQUEST, hostPort: 9 });
  rig.send({ op: OP_RST, hostPort: 9 });
  expect(rig.received().map(({ op }) => op)).toEqual([OP_RST, OP_RST]);
});

test("no more is sent than the guest has room for", async () => {
  const { rig, stream } = accepted({ bufAlloc: 10_000 });
  stream.write(Buffer.alloc(25_000, 7));
  const bytes = () =>
    rig
      .received()
      .filter(({ op }) => op === OP_RW)
      .reduce((sum, { data }) => sum + data.length, 0);
  expect(bytes()).toBe(10_000);
  rig.send({ op: OP_CREDIT_UPDATE, hostPort: 1024, bufAlloc: 10_000, fwdCnt: 4000 });
  expect(bytes()).toBe(4000);
  rig.send({ op: OP_CREDIT_UPDATE, hostPort: 1024, bufAlloc: 20_000, fwdCnt: 14_000 });
  expect(bytes()).toBe(11_000);
});

test("a guest without room is asked for it once", () => {
  const { rig, stream } = accepted({ bufAlloc: 1 });
  stream.write("ab");
  expect(rig.received().map(({ op }) => op)).toEqual([OP_RW, OP_CREDIT_REQUEST]);
  expect(rig.received()).toEqual([]);
});

test("the guest gets room as the reader takes, and a guest that takes more is reset", async () => {
  const { rig, stream } = accepted();
  const data = new Uint8Array(32_768);
  for (let n = 0; n < 8; n++) rig.send({ op: OP_RW, hostPort: 1024, data });
  expect(rig.received().filter(({ op }) => op === OP_RST)).toEqual([]);
  stream.pause();
  let taken = 0;
  for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) taken += chunk.length;
  await turn();
  for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) taken += chunk.length;
  const updates = rig.received().filter(({ op }) => op === OP_CREDIT_UPDATE);
  expect(updates.at(-1)?.fwdCnt).toBeGreaterThanOrEqual(taken - 65_536);
  for (let n = 0; n < 18; n++) rig.send({ op: OP_RW, hostPort: 1024, data });
  expect(rig.received().map(({ op }) => op)).toContain(OP_RST);
  expect(stream.destroyed).toBe(true);
});

test("a packet that is larger than the driver's buffers becomes several", () => {
  const { rig, stream } = accepted();
  const data = Buffer.from(Uint8Array.from({ length: 50_000 }, (_, n) => n & 0xff));
  stream.write(data);
  const packets = rig.received();
  expect(packets.length).toBeGreaterThan(10);
  expect(Buffer.concat(packets.map((packet) => packet.data)).equals(data)).toBe(true);
});

test("a driver that begins anew, and a restored machine, have no connections", async () => {
  const { rig, stream } = accepted();
  const failed = once(stream, "error");
  stream.write("for the driver from before");
  rig.bringUp();
  expect(await failed).toMatchObject([{ code: "ECONNRESET" }]);
  expect(rig.received()).toEqual([]);
  expect(rig.events()).toBe(0);
  rig.device.properties().connectionsLost.set?.(1);
  expect(rig.events()).toBe(1);
  expect(rig.events()).toBe(0);
});

test("a guest that sends resets' worth of nonsense and reads nothing has to wait", () => {
  const rig = start();
  // All buffers for the guest, the ring behind them, and then the answers that have no place in it.
  for (let n = 0; n < 60_000 && rig.host.takes; n++) rig.port.send(new Uint8Array(44));
  while (rig.port.send(new Uint8Array(44))) {}
  for (let n = 0; n < 100; n++) rig.send({ op: OP_RW, hostPort: 9, guestPort: n });
  expect(rig.host.takes).toBe(false);
  while (rig.received().length > 0) rig.port.wake();
  expect(rig.host.takes).toBe(true);
});

test("a guest that lies in every header gets nothing but resets, and at most 1024 connections", async () => {
  const rig = start();
  const next = random(11);
  const streams: VsockStream[] = [];
  for (const port of [0, 1, 2]) {
    rig.host.listen(port, (stream) => {
      stream.on("error", () => {});
      streams.push(stream);
      if (next() < 0.5) stream.resume();
      if (next() < 0.3) stream.write(Buffer.alloc(Math.floor(next() * 100_000)));
      if (next() < 0.1) stream.end();
    });
  }
  const any = (most: number) => Math.floor(next() * most);
  for (let n = 0; n < 20_000; n++) {
    rig.send({
      op: next() < 0.4 ? OP_REQUEST : any(10),
      hostPort: any(4),
      guestPort: next() < 0.5 ? any(4) : any(3000),
      flags: any(5),
      bufAlloc: next() < 0.5 ? any(2 ** 32) : any(10_000),
      fwdCnt: any(2) * any(2 ** 32),
      data: new Uint8Array(next() < 0.3 ? any(6000) : 0),
      type: next() < 0.05 ? any(4) : 1,
      srcCid: next() < 0.02 ? any(9) : CID,
      ...(next() < 0.02 ? { length: any(2 ** 32) } : {}),
    });
    if (next() < 0.3) rig.received();
    if (n % 500 === 0) await turn();
  }
  expect(rig.plugged.needsReset).toBe(false);
  expect(streams.filter(({ destroyed }) => !destroyed).length).toBeLessThanOrEqual(1024);
  expect(streams.length).toBeGreaterThan(100);
});
