/**
 * The DHCPv6 server (RFC 8415): the name server and the search list for those who ask for nothing else, as router
 * advertisements suggest, and an address for those who ask for one: fec0::f for the first, as 10.0.2.15 in IPv4.
 *
 * Not built: prefix delegation, temporary addresses, reconfiguration, authentication.
 */
import { areEqual, copyBytes, get16, put16, put32 } from "./bytes.ts";
import { DNS6, GATEWAY6 } from "./destination.ts";
import { encodeSearchList } from "./dhcp.ts";
import { LEASES, type UserNetworkOptions } from "./options.ts";

export const DHCP6_SERVER_PORT = 547;
export const DHCP6_CLIENT_PORT = 546;

const HEADER_BYTES = 4;
const PREFERRED_SECONDS = 14_400;
const VALID_SECONDS = 86_400;
/** The last byte of the first address. */
const FIRST_LEASE = 15;
/** A client's identifier has at most 130 bytes (11.1). */
const MAX_ID_BYTES = 130;

// Messages.
const SOLICIT = 1;
const ADVERTISE = 2;
const REQUEST = 3;
const CONFIRM = 4;
const RENEW = 5;
const REBIND = 6;
const REPLY = 7;
const RELEASE = 8;
const DECLINE = 9;
const INFORMATION_REQUEST = 11;

// Options.
const OPTION_CLIENTID = 1;
const OPTION_SERVERID = 2;
const OPTION_IA_NA = 3;
const OPTION_IAADDR = 5;
const OPTION_ORO = 6;
const OPTION_STATUS_CODE = 13;
const OPTION_RAPID_COMMIT = 14;
const OPTION_DNS_SERVERS = 23;
const OPTION_DOMAIN_LIST = 24;
const OPTION_BOOTFILE_URL = 59;

const SUCCESS = 0;
const NO_ADDRS_AVAIL = 2;
const NOT_ON_LINK = 4;

/** Of IA_NA before its own options: IAID, T1, T2. */
const IA_BYTES = 12;
const IAADDR_BYTES = 24;

export class Dhcp6Server {
  readonly #options: UserNetworkOptions;
  /** 11.4: DUID-LL of an Ethernet address. */
  readonly #serverId: Uint8Array;
  /** By client and IAID, in hexadecimal: the last byte of its address. */
  readonly #leases = new Map<string, number>();

  constructor(options: UserNetworkOptions, mac: Uint8Array) {
    this.#options = options;
    this.#serverId = Uint8Array.of(0, 3, 0, 1, ...mac);
  }

  /** Writes the answer to a message into `reply`, which has MAX_DHCP_BYTES. Returns its length; 0: no answer. */
  answer(message: Uint8Array, reply: Uint8Array): number {
    if (message.length < HEADER_BYTES) return 0;
    const type = message[0];
    const client = findOption(message, OPTION_CLIENTID);
    if (!this.#isValid(type, message, client)) return 0;
    const isRapid = type === SOLICIT && findOption(message, OPTION_RAPID_COMMIT) !== undefined;
    const writer = new OptionWriter(reply);
    reply[0] = type === SOLICIT && !isRapid ? ADVERTISE : REPLY;
    copyBytes(message, 1, reply, 1, 3); // transaction
    if (client !== undefined) writer.option(OPTION_CLIENTID, client);
    writer.option(OPTION_SERVERID, this.#serverId);
    if (isRapid) writer.option(OPTION_RAPID_COMMIT, NOTHING);
    switch (type) {
      case CONFIRM:
        writer.status(this.#areOnLink(message) ? SUCCESS : NOT_ON_LINK);
        return writer.length;
      case RELEASE:
      case DECLINE:
        this.#forget(message, client ?? NOTHING);
        writer.status(SUCCESS);
        return writer.length;
      case INFORMATION_REQUEST:
        break;
      default:
        this.#grant(message, client ?? NOTHING, writer);
    }
    this.#inform(message, writer);
    return writer.length;
  }

  /** 16: who must name whom. */
  #isValid(type: number, message: Uint8Array, client: Uint8Array | undefined): boolean {
    const server = findOption(message, OPTION_SERVERID);
    const isOurs =
      server?.length === this.#serverId.length && areEqual(server, 0, this.#serverId, 0, server.length);
    if (client !== undefined && client.length > MAX_ID_BYTES) return false;
    switch (type) {
      case SOLICIT:
      case CONFIRM:
      case REBIND:
        return client !== undefined && server === undefined;
      case REQUEST:
      case RENEW:
      case RELEASE:
      case DECLINE:
        return client !== undefined && isOurs;
      case INFORMATION_REQUEST:
        return (server === undefined || isOurs) && findOption(message, OPTION_IA_NA) === undefined;
      default:
        return false;
    }
  }

  /** An address for the first association that the client names. */
  #grant(message: Uint8Array, client: Uint8Array, writer: OptionWriter): void {
    const association = findOption(message, OPTION_IA_NA);
    if (association === undefined || association.length < IA_BYTES) return;
    const last = this.#leaseOf(leaseKey(client, association));
    const body = new Uint8Array(IA_BYTES + 4 + (last === 0 ? 2 : IAADDR_BYTES));
    copyBytes(association, 0, body, 0, 4);
    if (last === 0) {
      put16(body, IA_BYTES, OPTION_STATUS_CODE);
      put16(body, IA_BYTES + 2, 2);
      put16(body, IA_BYTES + 4, NO_ADDRS_AVAIL);
    } else {
      put32(body, 4, PREFERRED_SECONDS / 2);
      put32(body, 8, (PREFERRED_SECONDS / 5) * 4);
      put16(body, IA_BYTES, OPTION_IAADDR);
      put16(body, IA_BYTES + 2, IAADDR_BYTES);
      copyBytes(GATEWAY6, 0, body, IA_BYTES + 4, 15);
      body[IA_BYTES + 4 + 15] = last;
      put32(body, IA_BYTES + 20, PREFERRED_SECONDS);
      put32(body, IA_BYTES + 24, VALID_SECONDS);
    }
    writer.option(OPTION_IA_NA, body);
  }

  #inform(message: Uint8Array, writer: OptionWriter): void {
    const { restrict, domainname, dnssearch, tftp, bootfile } = this.#options;
    if (restrict !== true) writer.option(OPTION_DNS_SERVERS, DNS6);
    const domains = dnssearch ?? (domainname === undefined ? [] : [domainname]);
    if (domains.length > 0) writer.option(OPTION_DOMAIN_LIST, encodeSearchList(domains));
    if (tftp !== undefined && bootfile !== undefined && asksFor(message, OPTION_BOOTFILE_URL)) {
      writer.option(OPTION_BOOTFILE_URL, Buffer.from(`tftp://[fec0::2]/${bootfile}`, "utf8"));
    }
  }

  /** 0: none is free. */
  #leaseOf(key: string): number {
    const known = this.#leases.get(key);
    if (known !== undefined) return known;
    const taken = new Set(this.#leases.values());
    for (let last = FIRST_LEASE; last < FIRST_LEASE + LEASES; last++) {
      if (taken.has(last)) continue;
      this.#leases.set(key, last);
      return last;
    }
    return 0;
  }

  #forget(message: Uint8Array, client: Uint8Array): void {
    const association = findOption(message, OPTION_IA_NA);
    if (association !== undefined && association.length >= IA_BYTES)
      this.#leases.delete(leaseKey(client, association));
  }

  #areOnLink(message: Uint8Array): boolean {
    const association = findOption(message, OPTION_IA_NA);
    const address = association === undefined ? undefined : findOption(association, OPTION_IAADDR, IA_BYTES);
    return address === undefined || (address.length >= 16 && areEqual(address, 0, GATEWAY6, 0, 8));
  }
}

const NOTHING = new Uint8Array(0);

function leaseKey(client: Uint8Array, association: Uint8Array): string {
  return `${Buffer.from(client).toString("hex")} ${Buffer.from(association.subarray(0, 4)).toString("hex")}`;
}

function asksFor(message: Uint8Array, option: number): boolean {
  const asked = findOption(message, OPTION_ORO) ?? NOTHING;
  for (let at = 0; at + 2 <= asked.length; at += 2) if (get16(asked, at) === option) return true;
  return false;
}

function findOption(message: Uint8Array, wanted: number, from = HEADER_BYTES): Uint8Array | undefined {
  for (let at = from; at + 4 <= message.length; ) {
    const length = get16(message, at + 2);
    if (at + 4 + length > message.length) return undefined;
    if (get16(message, at) === wanted) return message.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
  return undefined;
}

class OptionWriter {
  readonly #reply: Uint8Array;
  length = HEADER_BYTES;

  constructor(reply: Uint8Array) {
    this.#reply = reply;
  }

  /** One for which there is no space is left out. */
  option(code: number, value: Uint8Array): void {
    if (this.length + 4 + value.length > this.#reply.length) return;
    put16(this.#reply, this.length, code);
    put16(this.#reply, this.length + 2, value.length);
    copyBytes(value, 0, this.#reply, this.length + 4, value.length);
    this.length += 4 + value.length;
  }

  status(code: number): void {
    this.option(OPTION_STATUS_CODE, Uint8Array.of(0, code));
  }
}
