/**
 * Peers that lie: what comes from the network to a guest. Nothing is thrown, and the guest gets nothing but whole
 * Ethernet frames of at most its MTU. VMEXIT_PEER_FRAMES and VMEXIT_FUZZ_SEED choose other cases than the usual.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type GuestLink, NO_OFFLOAD } from "../../../src/net/link.ts";
import { MAX_FRAME_BYTES } from "../../../src/net/offloads.ts";
import { datagramNetwork, streamNetwork } from "../../../src/net/socket-network.ts";
import { Packet } from "../../../src/net/user/packet.ts";
import { UserNetwork } from "../../../src/net/user/user-network.ts";
import { fakeClock, fakeHost, type Outside } from "../../support/fake-host.ts";
import { FrameFuzz } from "../../support/frame-fuzz.ts";
import { random } from "../../support/random.ts";

const FRAMES = Number(process.env.VMEXIT_PEER_FRAMES ?? 8_000);
const SEED = Number(process.env.VMEXIT_FUZZ_SEED ?? 1);
const PATIENCE_MS = 60_000 + 2 * FRAMES;
const MTU = 1500;

/** Servers that answer with what they were sent, changed, and with anything else, of any length. */
function liars(seed: number): Outside {
  const next = random(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => below(256)));
  const changed = (data: Buffer) => {
    const copy = Buffer.from(data);
    for (let n = below(4); n > 0 && copy.length > 0; n--) copy[below(Math.min(copy.length, 40))] = below(256);
    if (copy.length > 2 && below(2) === 0) copy[2] |= 0x80; // a DNS answer
    return copy;
  };
  const one = (data: Buffer): Buffer => {
    const kind = below(40);
    if (kind === 0) return Buffer.alloc(below(70_000), kind);
    if (kind === 1) return Buffer.alloc(0);
    if (kind < 6) return bytes(below(64));
    return kind < 9 ? Buffer.concat([changed(data), bytes(below(40))]) : changed(data);
  };
  const some = (data: Buffer) => Array.from({ length: below(3) }, () => one(data));
  return {
    datagrams: some,
    stream: (data) => (below(30) === 0 ? "reset" : below(30) === 0 ? "end" : some(data)),
  };
}

test(`${FRAMES} frames from servers that lie to a guest that lies: each is a whole packet of at most the MTU`, {
  timeout: PATIENCE_MS,
}, async () => {
  const { host } = fakeHost(liars(SEED));
  const { clock, advance } = fakeClock();
  const fuzz = new FrameFuzz(SEED);
  const packet = new Packet();
  const wrong: string[] = [];
  let heard: Uint8Array | undefined;
  let got = 0;
  const link: GuestLink = {
    accepts: 0,
    mtu: MTU,
    send: (head, body) => {
      got++;
      const frame = body === undefined ? Uint8Array.from(head) : Buffer.concat([head, body]);
      const isIp = frame[12] === 8 ? frame[13] === 0 : frame[12] === 0x86;
      const isWhole = frame.length >= 42 && frame.length <= 14 + MTU;
      if (!isWhole || (isIp && !packet.parse(frame, false))) wrong.push(Buffer.from(frame).toString("hex"));
      if (isIp) heard = frame;
      return true;
    },
  };
  const network = new UserNetwork({}, link, { host, clock });
  for (let n = 1; got < FRAMES; n++) {
    network.input(fuzz.frame(heard), NO_OFFLOAD);
    if (n % 16 === 0) network.batchEnd();
    if (n % 64 === 0) advance(40);
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (n % 20_000 === 0) network.reset();
  }
  await network.close();
  expect(wrong).toEqual([]);
});

/** What a guest gets: the number of frames, and a sum over their bytes. */
function countingLink() {
  const next = random(SEED + 1);
  const seen = { frames: 0, sum: 0, longest: 0 };
  let isFull = false;
  const link: GuestLink = {
    accepts: 0,
    mtu: MTU,
    send: (head) => {
      isFull = next() < 0.01;
      if (isFull) return false;
      seen.frames++;
      seen.sum = (seen.sum + head.length * 31 + head[0]) % 1e9;
      seen.longest = Math.max(seen.longest, head.length);
      return true;
    },
  };
  return { link, seen };
}

test("a peer on a stream that sends wrong lengths: the guest gets the frames before them, and the next peer is served", {
  timeout: PATIENCE_MS,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-peers-"));
  const place = { path: join(folder, "socket") };
  const { link, seen } = countingLink();
  const network = await streamNetwork({ place, isServer: true })(link);
  // The guest takes frames again, whenever the event loop has its turn.
  const timer = setInterval(() => network.room(), 1);
  const next = random(SEED);
  const below = (limit: number) => Math.floor(next() * limit);
  const expected = { frames: 0, sum: 0 };
  while (expected.frames < FRAMES) {
    const parts: Buffer[] = [];
    for (let n = below(2000); n >= 0; n--) {
      const length = below(50) === 0 ? 1 + below(MAX_FRAME_BYTES + 4000) : 1 + below(200);
      const record = Buffer.alloc(4 + length, below(256));
      record.writeUInt32BE(length);
      parts.push(record);
      if (length > MAX_FRAME_BYTES) continue; // longer than a card takes: lost
      expected.frames++;
      expected.sum = (expected.sum + length * 31 + record[4]) % 1e9;
    }
    const lie = Buffer.alloc(4 + below(100), 0xff);
    lie.writeUInt32BE(below(3) === 0 ? 0 : 70_000 + below(2 ** 32 - 70_000));
    const socket = createConnection(place);
    socket.on("error", () => {}); // it is reset
    await once(socket, "connect");
    const all = Buffer.concat([...parts, lie]);
    // In pieces that end anywhere.
    for (let at = 0; at < all.length; ) {
      const piece = Math.min(all.length - at, below(3) === 0 ? 1 + below(9) : 1 + below(90_000));
      if (!socket.write(all.subarray(at, at + piece)) && !socket.destroyed) {
        await Promise.race([once(socket, "drain"), once(socket, "close")]);
      }
      at += piece;
    }
    if (!socket.closed) await once(socket, "close");
    await expect.poll(() => seen.frames, { interval: 5, timeout: 20_000 }).toBe(expected.frames);
  }
  clearInterval(timer);
  expect(seen.sum).toBe(expected.sum);
  expect(seen.longest).toBeLessThanOrEqual(MAX_FRAME_BYTES);
  await network.close();
  rmSync(folder, { recursive: true });
});

test("datagrams of any length: none is longer than a frame", async () => {
  const { link, seen } = countingLink();
  const taker = createSocket("udp4");
  taker.bind(0, "127.0.0.1");
  await once(taker, "listening");
  const { port } = taker.address();
  taker.close();
  const network = await datagramNetwork({
    local: { host: "127.0.0.1", port },
    remote: { host: "127.0.0.1", port: 9 },
    isMulticast: false,
  })(link);
  const sender = createSocket("udp4");
  const next = random(SEED);
  for (let n = 0; n < Math.min(FRAMES, 5000); n++) {
    const length = next() < 0.02 ? Math.floor(next() * 65_500) : Math.floor(next() * 100);
    await new Promise((resolve) => sender.send(Buffer.alloc(length, n), port, "127.0.0.1", resolve));
  }
  await expect.poll(() => seen.frames).toBeGreaterThan(100);
  expect(seen.longest).toBeLessThanOrEqual(MAX_FRAME_BYTES);
  sender.close();
  await network.close();
});
