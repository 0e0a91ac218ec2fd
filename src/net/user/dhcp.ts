/**
 * The DHCP server (RFC 2131, 2132). Clients differ in what they need: systemd-networkd and dhcpcd ignore an offer
 * without server identifier or lease time, and udhcpc may ask with server identifier 0.0.0.0, which means any. Answers
 * are broadcast, which every client accepts. Boot file and server are in the BOOTP fields, and in options 66 and 67 for
 * clients that ask for these.
 */
import { formatAddress, fromNumber, toNumber } from "./addresses.ts";
import { areEqual, copyBytes, get32, put16, put32 } from "./bytes.ts";
import { LEASES, type NetworkPlan, type UserNetworkOptions } from "./options.ts";

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

const FIXED_BYTES = 240;
/** RFC 1542, 2.1: shorter ones are dropped by some relays and clients. */
const MIN_MESSAGE_BYTES = 300;
export const MAX_DHCP_BYTES = 1200;
const COOKIE = 0x63825363;
const LEASE_SECONDS = 86_400;

const BOOT_REQUEST = 1;
const BOOT_REPLY = 2;

const OPTION_MASK = 1;
const OPTION_ROUTER = 3;
const OPTION_DNS = 6;
const OPTION_HOST_NAME = 12;
const OPTION_DOMAIN_NAME = 15;
const OPTION_MTU = 26;
const OPTION_BROADCAST = 28;
const OPTION_REQUESTED_ADDRESS = 50;
const OPTION_LEASE_TIME = 51;
const OPTION_MESSAGE_TYPE = 53;
const OPTION_SERVER_ID = 54;
const OPTION_PARAMETERS = 55;
const OPTION_MESSAGE = 56;
const OPTION_T1 = 58;
const OPTION_T2 = 59;
const OPTION_TFTP_SERVER = 66;
const OPTION_BOOT_FILE = 67;
const OPTION_DOMAIN_SEARCH = 119;
const OPTION_END = 255;

const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const DECLINE = 4;
const ACK = 5;
const NAK = 6;
const RELEASE = 7;
const INFORM = 8;

interface Lease {
  /** Of an Ethernet address, in hexadecimal; "": declined, not given again. */
  owner: string;
}

export class DhcpServer {
  readonly #plan: NetworkPlan;
  readonly #options: UserNetworkOptions;
  readonly #mtu: () => number;
  readonly #leases = new Map<number, Lease>();

  constructor(plan: NetworkPlan, options: UserNetworkOptions, mtu: () => number) {
    this.#plan = plan;
    this.#options = options;
    this.#mtu = mtu;
  }

  /** Writes the answer to a message into `reply`, which has MAX_DHCP_BYTES. Returns its length; 0: no answer. */
  answer(message: Uint8Array, reply: Uint8Array): number {
    if (message.length < FIXED_BYTES || message[0] !== BOOT_REQUEST || message[2] !== 6) return 0;
    if (get32(message, 236) !== COOKIE) return 0;
    const type = findOption(message, OPTION_MESSAGE_TYPE);
    const owner = Buffer.from(message.subarray(28, 34)).toString("hex");
    // BOOTP alone has no type.
    if (type === undefined) return this.#grant(message, reply, 0, this.#leaseOf(owner));
    if (type.length !== 1) return 0;
    switch (type[0]) {
      case DISCOVER:
        return this.#grant(message, reply, OFFER, this.#leaseOf(owner, requestedAddress(message)));
      case REQUEST:
        return this.#request(message, reply, owner);
      case INFORM:
        return this.#grant(message, reply, ACK, 0);
      case DECLINE:
        this.#decline(message, owner);
        return 0;
      case RELEASE:
        this.#release(owner);
        return 0;
      default:
        return 0;
    }
  }

  #request(message: Uint8Array, reply: Uint8Array, owner: string): number {
    const server = findOption(message, OPTION_SERVER_ID);
    const isOthers =
      server?.length === 4 && toNumber(server) !== 0 && !areEqual(server, 0, this.#plan.gateway, 0, 4);
    if (isOthers) return 0;
    // A client that renews its lease names it as its own address.
    const wanted = requestedAddress(message) || get32(message, 12) >>> 0;
    const granted = this.#leaseOf(owner, wanted);
    if (granted === 0 || (wanted !== 0 && granted !== wanted)) return this.#refuse(message, reply);
    return this.#grant(message, reply, ACK, granted);
  }

  /** The address for a client: the one it has or wants if that is possible, else the first that is free. 0: none. */
  #leaseOf(owner: string, wanted = 0): number {
    const { firstLease, broadcast } = this.#plan;
    const end = Math.min(firstLease + LEASES, toNumber(broadcast));
    let free = 0;
    for (let address = firstLease; address < end; address++) {
      const lease = this.#leases.get(address);
      if (lease?.owner === owner) return address;
      if (lease === undefined && (free === 0 || address === wanted)) free = address;
    }
    if (free !== 0) this.#leases.set(free, { owner });
    return free;
  }

  #release(owner: string): void {
    for (const [address, lease] of this.#leases) if (lease.owner === owner) this.#leases.delete(address);
  }

  /** The client found that another host uses its address: it is not given again. */
  #decline(message: Uint8Array, owner: string): void {
    const lease = this.#leases.get(requestedAddress(message));
    const declined = [...this.#leases.values()].filter((each) => each.owner === "").length;
    if (lease?.owner === owner) lease.owner = declined < LEASES / 2 ? "" : owner;
  }

  #refuse(message: Uint8Array, reply: Uint8Array): number {
    const options = this.#begin(message, reply, 0);
    options.byte(OPTION_MESSAGE_TYPE, NAK);
    options.bytes(OPTION_SERVER_ID, this.#plan.gateway);
    options.text(OPTION_MESSAGE, "requested address not available");
    return options.end();
  }

  #grant(message: Uint8Array, reply: Uint8Array, type: number, address: number): number {
    const isInform = type === ACK && address === 0;
    if (address === 0 && !isInform) return 0;
    const { gateway, dns, mask, broadcast } = this.#plan;
    const { restrict, hostname, domainname, dnssearch, bootfile, tftpServerName } = this.#options;
    const asked = findOption(message, OPTION_PARAMETERS);
    const wants = (option: number) => asked?.includes(option) === true;
    const options = this.#begin(message, reply, address);
    if (bootfile !== undefined) {
      copyBytes(gateway, 0, reply, 20, 4);
      const name = Buffer.from(bootfile, "latin1").subarray(0, 127);
      reply.set(name, 108);
    }
    if (type !== 0) {
      options.byte(OPTION_MESSAGE_TYPE, type);
      options.bytes(OPTION_SERVER_ID, gateway);
    }
    if (type !== 0 && !isInform) {
      options.long(OPTION_LEASE_TIME, LEASE_SECONDS);
      options.long(OPTION_T1, LEASE_SECONDS / 2);
      options.long(OPTION_T2, (LEASE_SECONDS / 8) * 7);
    }
    options.long(OPTION_MASK, mask);
    options.bytes(OPTION_BROADCAST, broadcast);
    if (restrict !== true) {
      options.bytes(OPTION_ROUTER, gateway);
      options.bytes(OPTION_DNS, dns);
    }
    if (hostname !== undefined) options.text(OPTION_HOST_NAME, hostname);
    if (domainname !== undefined) options.text(OPTION_DOMAIN_NAME, domainname);
    if (wants(OPTION_MTU) && this.#mtu() !== 1500) options.short(OPTION_MTU, this.#mtu());
    if (dnssearch !== undefined && dnssearch.length > 0) {
      options.bytes(OPTION_DOMAIN_SEARCH, encodeSearchList(dnssearch));
    }
    if (wants(OPTION_TFTP_SERVER) && (bootfile !== undefined || tftpServerName !== undefined)) {
      options.text(OPTION_TFTP_SERVER, tftpServerName ?? formatAddress(gateway));
    }
    if (wants(OPTION_BOOT_FILE) && bootfile !== undefined) options.text(OPTION_BOOT_FILE, bootfile);
    return options.end();
  }

  #begin(message: Uint8Array, reply: Uint8Array, address: number): OptionWriter {
    reply.fill(0);
    reply[0] = BOOT_REPLY;
    reply[1] = 1;
    reply[2] = 6;
    copyBytes(message, 4, reply, 4, 4); // transaction
    copyBytes(message, 10, reply, 10, 2); // flags
    if (address === 0)
      copyBytes(message, 12, reply, 12, 4); // the client's own address
    else reply.set(fromNumber(address), 16);
    copyBytes(message, 24, reply, 24, 4); // relay
    copyBytes(message, 28, reply, 28, 16); // hardware address
    put32(reply, 236, COOKIE);
    return new OptionWriter(reply);
  }
}

/** 0: none. */
function requestedAddress(message: Uint8Array): number {
  const option = findOption(message, OPTION_REQUESTED_ADDRESS);
  return option?.length === 4 ? toNumber(option) : 0;
}

function findOption(message: Uint8Array, wanted: number): Uint8Array | undefined {
  for (let at = FIXED_BYTES; at < message.length && message[at] !== OPTION_END; ) {
    if (message[at] === 0) {
      at++;
      continue;
    }
    const length = at + 1 < message.length ? message[at + 1] : 0;
    if (at + 2 + length > message.length) return undefined;
    if (message[at] === wanted) return message.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
  return undefined;
}

class OptionWriter {
  readonly #reply: Uint8Array;
  #at = FIXED_BYTES;

  constructor(reply: Uint8Array) {
    this.#reply = reply;
  }

  /** An option for which there is no space is left out. */
  bytes(option: number, value: Uint8Array): void {
    const length = Math.min(value.length, 255);
    if (this.#at + 3 + length > this.#reply.length) return;
    this.#reply[this.#at] = option;
    this.#reply[this.#at + 1] = length;
    copyBytes(value, 0, this.#reply, this.#at + 2, length);
    this.#at += 2 + length;
  }

  byte(option: number, value: number): void {
    this.bytes(option, Uint8Array.of(value));
  }

  short(option: number, value: number): void {
    const bytes = new Uint8Array(2);
    put16(bytes, 0, value);
    this.bytes(option, bytes);
  }

  long(option: number, value: number): void {
    this.bytes(option, fromNumber(value));
  }

  text(option: number, value: string): void {
    this.bytes(option, Buffer.from(value, "utf8"));
  }

  end(): number {
    this.#reply[this.#at] = OPTION_END;
    return Math.max(this.#at + 1, MIN_MESSAGE_BYTES);
  }
}

/** RFC 3397, without compression, which is also the form of RFC 8415, 10. */
export function encodeSearchList(domains: readonly string[]): Uint8Array {
  const labels = domains.flatMap((domain) => [
    ...domain
      .split(".")
      .filter((label) => label !== "")
      .flatMap((label) => [Math.min(label.length, 63), ...Buffer.from(label.slice(0, 63), "latin1")]),
    0,
  ]);
  return Uint8Array.from(labels);
}
