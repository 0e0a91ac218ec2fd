/** The DHCPv6 server, by what RFC 8415 asks of it. */
import { expect, test } from "vitest";
import { MAX_DHCP_BYTES } from "../../../src/net/user/dhcp.ts";
import { Dhcp6Server } from "../../../src/net/user/dhcp6.ts";
import type { UserNetworkOptions } from "../../../src/net/user/options.ts";
import { random } from "../../support/random.ts";

const MAC = [0x52, 0x55, 10, 0, 2, 2];
const SERVER_ID = [0, 3, 0, 1, ...MAC];
const [CLIENTID, SERVERID, IA_NA, IAADDR, ORO, STATUS, RAPID, DNS, DOMAINS, BOOT_URL] = [
  1, 2, 3, 5, 6, 13, 14, 23, 24, 59,
];
const [SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, INFORMATION] = [
  1, 2, 3, 4, 5, 6, 7, 8, 11,
];
const DNS_ADDRESS = [0xfe, 0xc0, ...new Array(13).fill(0), 3];

const option = (code: number, value: readonly number[]) => [
  ...[code >> 8, code & 255, value.length >> 8, value.length & 255],
  ...value,
];
const client = (last: number) => option(CLIENTID, [0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, last]);
const server = option(SERVERID, SERVER_ID);
/** An association: IAID 0 0 0 9, no times, and options of its own. */
const association = (own: readonly number[] = []) =>
  option(IA_NA, [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, ...own]);

function parse(bytes: Uint8Array, from: number): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (let at = from; at < bytes.length; ) {
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    found.set((bytes[at] << 8) | bytes[at + 1], [...bytes.subarray(at + 4, at + 4 + length)]);
    at += 4 + length;
  }
  return found;
}

function rig(options: UserNetworkOptions = {}) {
  const dhcp = new Dhcp6Server(options, Uint8Array.from(MAC));
  return (type: number, ...options: number[][]) => {
    const reply = new Uint8Array(MAX_DHCP_BYTES);
    const length = dhcp.answer(Uint8Array.from([type, 1, 2, 3, ...options.flat()]), reply);
    if (length === 0) return undefined;
    expect([...reply.subarray(1, 4)]).toEqual([1, 2, 3]);
    const found = parse(reply.subarray(0, length), 4);
    const inner = parse(Uint8Array.from(found.get(IA_NA) ?? []), 12);
    return { type: reply[0], found, inner, address: inner.get(IAADDR)?.slice(0, 16) };
  };
}

test("a client that asks for information alone gets the name server, and the search list", () => {
  const send = rig({ dnssearch: ["a.example"] });
  const answer = send(INFORMATION, client(1), option(ORO, [0, DNS]));
  expect(answer?.type).toBe(REPLY);
  expect(answer?.found.get(SERVERID)).toEqual(SERVER_ID);
  expect(answer?.found.get(DNS)).toEqual(DNS_ADDRESS);
  expect(Buffer.from(answer?.found.get(DOMAINS) ?? []).toString()).toBe("\x01a\x07example\0");
  expect(send(INFORMATION)?.type).toBe(REPLY); // it need not say who it is
});

test("the first client gets fec0::f, in two steps or in one; each client another address, and always the same", () => {
  const send = rig();
  const offered = send(SOLICIT, client(1), association());
  expect([offered?.type, offered?.address?.at(-1)]).toEqual([ADVERTISE, 15]);
  const granted = send(REQUEST, client(1), server, association());
  expect([granted?.type, granted?.address]).toEqual([REPLY, [0xfe, 0xc0, ...new Array(13).fill(0), 15]]);
  expect(granted?.inner.get(IAADDR)?.slice(16)).toEqual([0, 0, 0x38, 0x40, 0, 1, 0x51, 0x80]);
  const rapid = send(SOLICIT, client(2), association(), option(RAPID, []));
  expect([rapid?.type, rapid?.found.get(RAPID), rapid?.address?.at(-1)]).toEqual([REPLY, [], 16]);
  expect(send(RENEW, client(1), server, association())?.address?.at(-1)).toBe(15);
  expect(send(REBIND, client(2), association())?.address?.at(-1)).toBe(16);
});

test("a released address is free again, and the seventeenth client gets none", () => {
  const send = rig();
  for (let n = 0; n < 16; n++) send(SOLICIT, client(n), association(), option(RAPID, []));
  const refused = send(SOLICIT, client(99), association());
  expect(refused?.inner.get(STATUS)).toEqual([0, 2]);
  expect(send(RELEASE, client(3), server, association())?.found.get(STATUS)).toEqual([0, 0]);
  expect(send(SOLICIT, client(99), association())?.address?.at(-1)).toBe(18);
});

test("an address from elsewhere is not on this link", () => {
  const send = rig();
  const at = (first: number) => association(option(IAADDR, [first, 0xc0, ...new Array(22).fill(0)]));
  expect(send(CONFIRM, client(1), at(0xfe))?.found.get(STATUS)).toEqual([0, 0]);
  expect(send(CONFIRM, client(1), at(0x20))?.found.get(STATUS)).toEqual([0, 4]);
});

test("what is for another server, or from nobody, gets no answer", () => {
  const send = rig();
  const other = option(SERVERID, [0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
  expect(send(REQUEST, client(1), other, association())).toBeUndefined();
  expect(send(REQUEST, client(1), association())).toBeUndefined();
  expect(send(SOLICIT, association())).toBeUndefined();
  expect(send(SOLICIT, client(1), server, association())).toBeUndefined();
  expect(send(INFORMATION, client(1), association())).toBeUndefined();
  expect(send(REPLY, client(1))).toBeUndefined();
});

test("restrict=on: an address, and no name server; a boot file for a client that asks", () => {
  const answer = rig({ restrict: true })(SOLICIT, client(1), association());
  expect([answer?.address?.at(-1), answer?.found.has(DNS)]).toEqual([15, false]);
  const boot = rig({ tftp: "/srv", bootfile: "pxe.efi" })(INFORMATION, option(ORO, [0, BOOT_URL]));
  expect(Buffer.from(boot?.found.get(BOOT_URL) ?? []).toString()).toBe("tftp://[fec0::2]/pxe.efi");
});

test("messages of random bytes are answered or not, and nothing is thrown", () => {
  const dhcp = new Dhcp6Server({}, Uint8Array.from(MAC));
  const chance = random(5);
  const reply = new Uint8Array(MAX_DHCP_BYTES);
  for (let n = 0; n < 20_000; n++) {
    const parts = [client(1), server, association(), option(ORO, [0, 59]), option(RAPID, [])];
    const message = [1 + Math.floor(chance() * 12), 0, 0, 1];
    for (const part of parts) if (chance() < 0.6) message.push(...part);
    for (let changes = Math.floor(chance() * 4); changes > 0; changes--)
      message[Math.floor(chance() * message.length)] = Math.floor(chance() * 256);
    const cut = chance() < 0.3 ? Math.floor(chance() * message.length) : message.length;
    expect(dhcp.answer(Uint8Array.from(message.slice(0, cut)), reply)).toBeLessThanOrEqual(MAX_DHCP_BYTES);
  }
});
