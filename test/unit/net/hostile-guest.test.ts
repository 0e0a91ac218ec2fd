/**
 * A guest that lies in every header. Nothing is thrown, what is buffered has a limit, and no socket is opened that the
 * options forbid. VMEXIT_FUZZ_FRAMES and VMEXIT_FUZZ_SEED choose other frames than the usual.
 */
import { expect, test } from "vitest";
import { type GuestLink, NO_OFFLOAD } from "../../../src/net/link.ts";
import type { UserNetworkOptions } from "../../../src/net/user/options.ts";
import { UserNetwork } from "../../../src/net/user/user-network.ts";
import { fakeClock, fakeHost } from "../../support/fake-host.ts";
import { FrameFuzz } from "../../support/frame-fuzz.ts";

const FRAMES = Number(process.env.VMEXIT_FUZZ_FRAMES ?? 30_000);
const SEED = Number(process.env.VMEXIT_FUZZ_SEED ?? 1);

const PATIENCE_MS = 60_000 + 2 * FRAMES;

const NOTHING = { tcpConnections: 0, udpSessions: 0, pings: 0, openStreams: 0, bufferedBytes: 0 };

async function attack(options: UserNetworkOptions, accepts = 0) {
  const { host, opened } = fakeHost();
  const { clock, advance } = fakeClock();
  const fuzz = new FrameFuzz(SEED);
  let heard: Uint8Array | undefined;
  let sent = 0;
  let isFull = false;
  const link: GuestLink = {
    accepts,
    mtu: 1500,
    send: (head, body) => {
      if (isFull) return false;
      sent++;
      if (body !== undefined || head[12] === 8) heard = Uint8Array.from(head);
      return true;
    },
  };
  const network = new UserNetwork(options, link, { host, clock });
  for (let n = 1; n <= FRAMES; n++) {
    network.input(fuzz.frame(heard), NO_OFFLOAD);
    if (n % 16 === 0) network.batchEnd();
    if (n % 64 === 0) advance(40);
    if (n % 1000 === 0) {
      // The event loop has its turn; the guest stops taking frames now and then.
      await new Promise((resolve) => setImmediate(resolve));
      isFull = n % 3000 === 0;
      if (!isFull) network.room();
      const { tcpConnections, udpSessions, pings, bufferedBytes } = network.counters;
      expect(tcpConnections).toBeLessThanOrEqual(4096);
      expect(udpSessions).toBeLessThanOrEqual(1024);
      expect(pings).toBeLessThanOrEqual(64);
      expect(bufferedBytes).toBeLessThan(128 * 1024 * 1024);
    }
    if (n % 20_000 === 0) network.reset();
  }
  await network.close();
  await new Promise((resolve) => setImmediate(resolve));
  const { counters } = network;
  return { opened: new Set(opened), sent, counters };
}

test(`${FRAMES} frames that lie: sockets only lead outside, and to the loopback of the gateway`, {
  timeout: PATIENCE_MS,
}, async () => {
  const { opened, sent, counters } = await attack({}, 7);
  expect(sent).toBeGreaterThan(FRAMES / 100);
  expect(counters).toEqual(NOTHING);
  expect(opened).toContain("192.0.2.1");
  expect(opened).toContain("127.0.0.1");
  expect(opened).toContain("2001:db8::1");
  for (const address of opened) {
    // Frames are changed at random, so other addresses occur; these never.
    expect(address).not.toMatch(/^(0\.|10\.0\.2\.|22[4-9]\.|2[345]\d\.)/);
    if (address.startsWith("127.")) expect(address).toBe("127.0.0.1");
    expect(address).not.toMatch(/^(::$|::ffff|ff|fe|2002:)/);
  }
});

test("restrict=on opens no socket, whatever a guest sends", { timeout: PATIENCE_MS }, async () => {
  const { opened, counters } = await attack({ restrict: true });
  expect(opened).toEqual(new Set());
  expect(counters).toEqual(NOTHING);
});

test("a program that denies everything opens no socket but those of the name server", {
  timeout: PATIENCE_MS,
}, async () => {
  const { opened } = await attack({ onConnect: () => "deny" });
  expect(opened).toEqual(new Set(["192.0.2.53"]));
});

// A query that is not one, or has two questions, went to the host's resolvers without asking onDns.
test("a program that denies everything and every name opens no socket at all", {
  timeout: PATIENCE_MS,
}, async () => {
  const { opened, counters } = await attack({ onConnect: () => "deny", onDns: () => null });
  expect(opened).toEqual(new Set());
  expect(counters).toEqual(NOTHING);
});
