/** The DHCP server, by what clients were seen to send and to need. */
import { expect, test } from "vitest";
import { DhcpServer, MAX_DHCP_BYTES } from "../../../src/net/user/dhcp.ts";
import { planNetwork, type UserNetworkOptions } from "../../../src/net/user/options.ts";

const SERVER = [10, 0, 2, 2];

interface Answer {
  readonly address: string;
  readonly type: number | undefined;
  readonly file: string;
  readonly next: string;
  readonly options: ReadonlyMap<number, number[]>;
  readonly length: number;
}

/** A client with the last byte of its Ethernet address. */
function client(options: UserNetworkOptions = {}, mtu = 1500) {
  const server = new DhcpServer(planNetwork(options), options, () => mtu);
  return (type: number, more: readonly number[] = [], last = 1, own = [0, 0, 0, 0]): Answer | undefined => {
    const message = new Uint8Array(300);
    message.set([1, 1, 6, 0, 1, 2, 3, 4]);
    message.set(own, 12);
    message.set([0x52, 0x54, 0, 0, 0, last], 28);
    message.set([99, 130, 83, 99, 53, 1, type, ...more, 255], 236);
    const reply = new Uint8Array(MAX_DHCP_BYTES);
    const length = server.answer(message, reply);
    if (length === 0) return undefined;
    const found = new Map<number, number[]>();
    for (let at = 240; reply[at] !== 255; at += 2 + reply[at + 1]) {
      found.set(reply[at], Array.from(reply.subarray(at + 2, at + 2 + reply[at + 1])));
    }
    return {
      address: reply.subarray(16, 20).join("."),
      type: found.get(53)?.[0],
      file: Buffer.from(reply.subarray(108, 236)).toString().replaceAll("\0", ""),
      next: reply.subarray(20, 24).join("."),
      options: found,
      length,
    };
  };
}

test("an offer has server identifier and lease time, without which systemd-networkd and dhcpcd ignore it", () => {
  const offer = client()(1);
  expect(offer).toMatchObject({ address: "10.0.2.15", type: 2 });
  expect(offer?.options.get(54)).toEqual(SERVER);
  expect(offer?.options.get(51)).toEqual([0, 1, 0x51, 0x80]);
  expect(offer?.options.get(58)).toEqual([0, 0, 0xa8, 0xc0]);
  expect(offer?.options.get(1)).toEqual([255, 255, 255, 0]);
  expect(offer?.options.get(3)).toEqual(SERVER);
  expect(offer?.options.get(6)).toEqual([10, 0, 2, 3]);
  expect(offer?.length).toBeGreaterThanOrEqual(300);
});

test("udhcpc's server identifier 0.0.0.0 means any; another server's request is not ours", () => {
  const send = client();
  const wanted = [50, 4, 10, 0, 2, 15];
  expect(send(3, [...wanted, 54, 4, 0, 0, 0, 0])).toMatchObject({ type: 5, address: "10.0.2.15" });
  expect(send(3, [...wanted, 54, 4, ...SERVER])).toMatchObject({ type: 5 });
  expect(send(3, [...wanted, 54, 4, 10, 0, 2, 9])).toBeUndefined();
});

test("an address that is not possible, or another client's, is refused; a renewal names the client's own", () => {
  const send = client();
  expect(send(3, [50, 4, 192, 168, 1, 7])).toMatchObject({ type: 6, address: "0.0.0.0" });
  expect(send(3, [50, 4, 10, 0, 2, 15], 2)).toMatchObject({ type: 6 });
  expect(send(3, [], 1, [10, 0, 2, 15])).toMatchObject({ type: 5, address: "10.0.2.15" });
});

test("each client keeps its address; there are sixteen; a released one is free again", () => {
  const send = client();
  for (let n = 0; n < 16; n++) expect(send(1, [], n)?.address).toBe(`10.0.2.${15 + n}`);
  expect(send(1, [], 3)?.address).toBe("10.0.2.18");
  expect(send(1, [], 99)).toBeUndefined();
  expect(send(7, [], 3)).toBeUndefined();
  expect(send(1, [], 99)?.address).toBe("10.0.2.18");
});

test("an address that is in use by another host is not given again", () => {
  const send = client();
  send(1);
  send(4, [50, 4, 10, 0, 2, 15]);
  expect(send(1)?.address).toBe("10.0.2.16");
});

test("INFORM is answered without an address and without a lease", () => {
  const answer = client()(8, [], 1, [10, 0, 2, 77]);
  expect(answer).toMatchObject({ type: 5, address: "0.0.0.0" });
  expect(answer?.options.has(51)).toBe(false);
});

test("network boot: the file in its field, and as options if the client asks for them", () => {
  const send = client({ bootfile: "pxe.0", hostname: "box", dnssearch: ["a.example"] });
  const offer = send(1, [55, 2, 66, 67]);
  expect(offer).toMatchObject({ file: "pxe.0", next: "10.0.2.2" });
  expect(Buffer.from(offer?.options.get(67) ?? []).toString()).toBe("pxe.0");
  expect(Buffer.from(offer?.options.get(66) ?? []).toString()).toBe("10.0.2.2");
  expect(Buffer.from(offer?.options.get(12) ?? []).toString()).toBe("box");
  expect(offer?.options.get(119)).toEqual([1, 97, 7, ...Buffer.from("example"), 0]);
  expect(send(1)?.options.has(67)).toBe(false);
});

test("a restricted guest gets an address, but neither router nor name server", () => {
  const offer = client({ restrict: true })(1);
  expect(offer?.address).toBe("10.0.2.15");
  expect([3, 6].map((option) => offer?.options.has(option))).toEqual([false, false]);
});

test("a card with another MTU says so to clients that ask", () => {
  expect(client({}, 9000)(1, [55, 1, 26])?.options.get(26)).toEqual([0x23, 0x28]);
});
