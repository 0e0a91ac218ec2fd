/** Echo requests of the guest to addresses outside: by ping sockets of the host, if the options and the host permit it. */
import { createSocket, type Socket } from "node:dgram";
import { afterEach, describe, expect, test } from "vitest";
import { type GuestLink, NO_OFFLOAD } from "../../../src/net/link.ts";
import { get16, put16 } from "../../../src/net/user/bytes.ts";
import { addWords, checksumOf } from "../../../src/net/user/checksum.ts";
import type { Clock } from "../../../src/net/user/clock.ts";
import { type Host, nodeHost } from "../../../src/net/user/host.ts";
import type { ConnectionRequest, UserNetworkOptions } from "../../../src/net/user/options.ts";
import { UserNetwork } from "../../../src/net/user/user-network.ts";

const OUTSIDE = [192, 0, 2, 1];
const IDENTIFIER = 77;

/** Sockets that note what is sent, and never reach a network. */
class FakePings {
  readonly sent: { data: Buffer; address: string }[] = [];
  readonly sockets: Socket[] = [];
  isPermitted = true;

  readonly host: Host = {
    ...nodeHost,
    pings: () => {
      if (!this.isPermitted) return undefined;
      const socket = createSocket("udp4");
      Object.assign(socket, {
        send: (data: Buffer, _port: number, address: string) => this.sent.push({ data, address }),
      });
      this.sockets.push(socket);
      return socket;
    },
  };
}

/** A network, and a guest that pings. */
function rig(options: UserNetworkOptions = {}) {
  const pings = new FakePings();
  const received: Uint8Array[] = [];
  let time = 0;
  let ring = () => {};
  const clock: Clock = {
    now: () => time,
    alarm: (callback) => {
      ring = callback;
      return { set: () => {}, cancel: () => {} };
    },
  };
  const link: GuestLink = {
    accepts: 0,
    mtu: 1500,
    send: (head) => {
      if (head[12] === 8 && head[13] === 0) received.push(Uint8Array.from(head));
      return true;
    },
  };
  const network = new UserNetwork(options, link, { host: pings.host, clock });
  networks.push(network);
  const ping = (target: readonly number[], sequence = 1) => {
    network.input(echoRequest(target, sequence), NO_OFFLOAD);
    return new Promise((resolve) => setImmediate(resolve)); // a handler is asynchronous
  };
  const advance = (ms: number) => {
    time += ms;
    ring(); // late: the first call only looks again
    ring();
  };
  return { network, pings, received, ping, advance };
}

const networks: UserNetwork[] = [];
afterEach(async () => {
  for (const network of networks.splice(0)) await network.close();
});

function echoRequest(target: readonly number[], sequence: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46]);
  frame.set([64, 1], 22);
  frame.set([10, 0, 2, 15, ...target], 26);
  put16(frame, 24, checksumOf(addWords(frame, 14, 34, 0)));
  frame.set([8, 0], 34);
  put16(frame, 38, IDENTIFIER);
  put16(frame, 40, sequence);
  frame.set(Buffer.from("is anybody there?"), 42);
  put16(frame, 36, checksumOf(addWords(frame, 34, 60, 0)));
  return frame;
}

/** The kernel's answer: the same message with the identifier that it chose. */
function answer(request: Buffer): Buffer {
  const reply = Buffer.from(request);
  reply[0] = 0;
  reply.writeUInt16BE(4711, 4);
  return reply;
}

describe("the host permits ping sockets", () => {
  test("a request leaves, and its answer has the guest's identifier and the address that it asked", async () => {
    const { pings, received, ping } = rig();
    await ping(OUTSIDE, 5);
    expect(pings.sent.map(({ address }) => address)).toEqual(["192.0.2.1"]);
    pings.sockets[0].emit("message", answer(pings.sent[0].data));
    const reply = received.at(-1) ?? new Uint8Array();
    expect([...reply.subarray(26, 34)]).toEqual([...OUTSIDE, 10, 0, 2, 15]);
    expect([reply[34], get16(reply, 38), get16(reply, 40)]).toEqual([0, IDENTIFIER, 5]);
    expect(checksumOf(addWords(reply, 34, 14 + get16(reply, 16), 0))).toBe(0);
    expect(Buffer.from(reply).toString("latin1", 42, 59)).toBe("is anybody there?");
  });

  test("requests of one program share a socket, which ends when they do", async () => {
    const { network, pings, ping, advance } = rig();
    for (let n = 0; n < 3; n++) await ping(OUTSIDE, n);
    expect([pings.sent.length, pings.sockets.length, network.counters.pings]).toEqual([3, 1, 1]);
    advance(31_000);
    expect(network.counters.pings).toBe(0);
  });

  test("a guest that pings everybody has 64 sockets at most", async () => {
    const { network, ping } = rig();
    for (let n = 1; n < 100; n++) await ping([192, 0, 2, n]);
    expect(network.counters.pings).toBe(64);
  });

  test("onConnect decides about echo requests too", async () => {
    const asked: ConnectionRequest[] = [];
    const { pings, received, ping } = rig({
      onConnect: (request) => {
        asked.push(request);
        if (request.address === "192.0.2.2") return { redirect: { host: "198.51.100.9", port: 0 } };
        return request.address === "192.0.2.1" ? "allow" : "deny";
      },
    });
    for (const last of [1, 2, 3]) await ping([192, 0, 2, last]);
    expect(pings.sent.map(({ address }) => address)).toEqual(["192.0.2.1", "198.51.100.9"]);
    expect(asked[0]).toEqual({
      protocol: "icmp",
      host: "192.0.2.1",
      address: "192.0.2.1",
      port: 0,
      guest: { address: "10.0.2.15", port: IDENTIFIER },
    });
    expect(received.map((frame) => [frame[34], frame[35]])).toEqual([[3, 13]]);
  });

  test("restrict=on: none leaves", async () => {
    const { pings, received, ping } = rig({ restrict: true });
    await ping(OUTSIDE);
    expect(pings.sockets).toEqual([]);
    expect([received[0][34], received[0][35]]).toEqual([3, 13]);
  });
});

test('a host that does not permit ping sockets: the guest gets "prohibited"', async () => {
  const { pings, received, ping } = rig();
  pings.isPermitted = false;
  await ping(OUTSIDE);
  expect([received[0][34], received[0][35]]).toEqual([3, 13]);
});
