/**
 * IPv6 on the guest's network: who is where (RFC 4861), and by which prefix a guest makes its own address (RFC 4862). The
 * addresses are QEMU's: prefix fec0::/64, gateway fec0::2, name server fec0::3. Router advertisements name the name server
 * (RFC 8106), and suggest DHCPv6 for what they do not say; for addresses it is not needed.
 */
import { areEqual, copyBytes, put16, put32 } from "./bytes.ts";
import { DNS6, GATEWAY6, LINK_LOCAL_GATEWAY6 } from "./destination.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { ICMPV6, type Packet } from "./packet.ts";

const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;

const OPTION_SOURCE_MAC = 1;
const OPTION_TARGET_MAC = 2;
const OPTION_PREFIX = 3;
const OPTION_MTU = 5;
const OPTION_DNS = 25;

const PREFIX_BITS = 64;
const FLAGS_ON_LINK_AUTONOMOUS = 0xc0;
const FLAGS_ROUTER_SOLICITED_OVERRIDE = 0xe000_0000;
const FLAGS_ROUTER_OVERRIDE = 0xa000_0000;
/** The O flag of an advertisement (RFC 4861, 4.2). */
const FLAG_OTHER_BY_DHCP = 0x40;
const ROUTER_SECONDS = 1800;
const VALID_SECONDS = 86_400;
const PREFERRED_SECONDS = 14_400;
/** Neighbour discovery is for one link: a packet that was forwarded has fewer hops left. */
const MAX_HOPS = 255;

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

export class Ipv6Neighbourhood {
  readonly #writer: FrameWriter;
  readonly #mac: Uint8Array;
  readonly #isRouter: boolean;

  /** @param isRouter false: the guest is not to send packets out */
  constructor(writer: FrameWriter, mac: Uint8Array, isRouter: boolean) {
    this.#writer = writer;
    this.#mac = mac;
    this.#isRouter = isRouter;
  }

  /** Answers neighbour discovery. True: the packet was that. */
  input(packet: Packet): boolean {
    const { bytes, start, end, protocol, ipStart } = packet;
    if (protocol !== ICMPV6) return false;
    const type = bytes[start];
    if (type < ROUTER_SOLICITATION || type > 137) return false;
    if (bytes[ipStart + 7] !== MAX_HOPS || bytes[start + 1] !== 0) return true;
    if (type === ROUTER_SOLICITATION) this.#advertiseRouter(packet);
    else if (type === NEIGHBOUR_SOLICITATION && end - start >= 24 && this.#isOurs(bytes, start + 8)) {
      this.#advertise(packet);
    }
    return true;
  }

  /** Whether the sender can be a guest: of the prefix, or link-local, and none of ours. */
  isGuest({ bytes, addresses }: Packet): boolean {
    const isOfPrefix = areEqual(bytes, addresses, GATEWAY6, 0, 8);
    const isLinkLocal = bytes[addresses] === 0xfe && (bytes[addresses + 1] & 0xc0) === 0x80;
    return (isOfPrefix || isLinkLocal) && !this.#isOurs(bytes, addresses);
  }

  #isOurs(bytes: Uint8Array, at: number): boolean {
    return (
      areEqual(bytes, at, GATEWAY6, 0, 16) ||
      areEqual(bytes, at, DNS6, 0, 16) ||
      areEqual(bytes, at, LINK_LOCAL_GATEWAY6, 0, 16)
    );
  }

  #advertiseRouter({ bytes: frame, addresses, destination }: Packet): void {
    const writer = this.#writer;
    const { bytes } = writer;
    const source = frame.slice(addresses, destination);
    const isUnspecified = source.every((byte) => byte === 0);
    const [mac, to] = isUnspecified ? [ALL_NODES_MAC, ALL_NODES] : [frame.slice(6, 12), source];
    const start = writer.beginIp(mac, this.#mac, LINK_LOCAL_GATEWAY6, to, ICMPV6, MAX_HOPS);
    bytes[start] = ROUTER_ADVERTISEMENT;
    bytes[start + 1] = 0;
    bytes[start + 4] = 64; // hop limit
    bytes[start + 5] = FLAG_OTHER_BY_DHCP;
    put16(bytes, start + 6, this.#isRouter ? ROUTER_SECONDS : 0);
    put32(bytes, start + 8, 0);
    put32(bytes, start + 12, 0);
    let at = start + 16;
    bytes[at] = OPTION_PREFIX;
    bytes[at + 1] = 4;
    bytes[at + 2] = PREFIX_BITS;
    bytes[at + 3] = FLAGS_ON_LINK_AUTONOMOUS;
    put32(bytes, at + 4, VALID_SECONDS);
    put32(bytes, at + 8, PREFERRED_SECONDS);
    put32(bytes, at + 12, 0);
    copyBytes(GATEWAY6, 0, bytes, at + 16, 8);
    bytes.fill(0, at + 24, at + 32);
    at = this.#putMac(at + 32, OPTION_SOURCE_MAC);
    bytes[at] = OPTION_MTU;
    bytes[at + 1] = 1;
    put16(bytes, at + 2, 0);
    put32(bytes, at + 4, writer.link.mtu);
    at += 8;
    if (this.#isRouter) {
      bytes[at] = OPTION_DNS;
      bytes[at + 1] = 3;
      put16(bytes, at + 2, 0);
      put32(bytes, at + 4, ROUTER_SECONDS);
      copyBytes(DNS6, 0, bytes, at + 8, 16);
      at += 24;
    }
    writer.finishIp(at);
  }

  #advertise({ bytes: frame, addresses, destination, start: asked }: Packet): void {
    const writer = this.#writer;
    const { bytes } = writer;
    const source = frame.slice(addresses, destination);
    const target = frame.slice(asked + 8, asked + 24);
    // A guest that checks its own address first has none yet.
    const isUnspecified = source.every((byte) => byte === 0);
    const [mac, to] = isUnspecified ? [ALL_NODES_MAC, ALL_NODES] : [frame.slice(6, 12), source];
    const start = writer.beginIp(mac, this.#mac, target, to, ICMPV6, MAX_HOPS);
    bytes[start] = NEIGHBOUR_ADVERTISEMENT;
    bytes[start + 1] = 0;
    put32(bytes, start + 4, isUnspecified ? FLAGS_ROUTER_OVERRIDE : FLAGS_ROUTER_SOLICITED_OVERRIDE);
    copyBytes(target, 0, bytes, start + 8, 16);
    writer.finishIp(this.#putMac(start + 24, OPTION_TARGET_MAC));
  }

  #putMac(at: number, option: number): number {
    const { bytes } = this.#writer;
    bytes[at] = option;
    bytes[at + 1] = 1;
    copyBytes(this.#mac, 0, bytes, at + 2, 6);
    return at + 8;
  }
}
