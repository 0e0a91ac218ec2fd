/** How guests get addresses and find each other's: ARP, DHCP, DHCPv6, and what is learned from their packets. */
import type { NetworkEvents } from "../network-event.ts";
import { formatAddress, toNumber } from "./addresses.ts";
import {
  ARP_SENDER,
  ARP_SENDER_MAC,
  ARP_TARGET,
  answerArp,
  askArp,
  isArpForIpv4,
  isArpRequest,
} from "./arp.ts";
import { areEqual, put16 } from "./bytes.ts";
import { LINK_LOCAL_GATEWAY6, METADATA } from "./destination.ts";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpServer, MAX_DHCP_BYTES } from "./dhcp.ts";
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT, Dhcp6Server } from "./dhcp6.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { BROADCAST_MAC, Neighbours } from "./neighbours.ts";
import type { NetworkPlan, UserNetworkOptions } from "./options.ts";
import { type Packet, UDP } from "./packet.ts";

/** A guest that does not answer is asked for its Ethernet address once in this time. */
const ARP_INTERVAL_MS = 100;
const EVERYBODY = new Uint8Array(4).fill(255);
/** Where a DHCP message has the address that it gives. */
const DHCP_YOUR_ADDRESS = 16;

export interface AddressContext {
  readonly writer: FrameWriter;
  readonly mac: Uint8Array;
  readonly events: NetworkEvents;
  now(): number;
  mtu(): number;
  /** An address at which something else answers, in the guest's network. */
  hasServer(bytes: Uint8Array, at: number): boolean;
  /** The Ethernet address of a guest is known now. */
  learned(): void;
}

export class AddressService {
  readonly #plan: NetworkPlan;
  readonly #context: AddressContext;
  readonly #nameServerMac: Uint8Array;
  readonly #neighbours = new Neighbours();
  readonly #dhcp: DhcpServer;
  readonly #dhcp6: Dhcp6Server;
  readonly #reply = new Uint8Array(MAX_DHCP_BYTES);
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(plan: NetworkPlan, options: UserNetworkOptions, context: AddressContext) {
    this.#plan = plan;
    this.#context = context;
    this.#nameServerMac = Uint8Array.of(0x52, 0x55, ...plan.dns);
    this.#dhcp = new DhcpServer(plan, options, () => context.mtu());
    this.#dhcp6 = new Dhcp6Server(options, context.mac);
  }

  inputArp(frame: Uint8Array): void {
    if (!isArpForIpv4(frame)) return;
    const { gateway, dns } = this.#plan;
    const { writer, mac } = this.#context;
    const isSpoofed = areEqual(frame, ARP_SENDER, gateway, 0, 4) || areEqual(frame, ARP_SENDER, dns, 0, 4);
    if (isSpoofed) return;
    if (this.#isLocal(frame, ARP_SENDER)) this.learn(frame, ARP_SENDER_MAC, ARP_SENDER, 4);
    if (!isArpRequest(frame)) return;
    if (areEqual(frame, ARP_TARGET, dns, 0, 4)) answerArp(frame, this.#nameServerMac, writer);
    else if (this.#isOurs(frame, ARP_TARGET)) answerArp(frame, mac, writer);
  }

  inputDhcp({ bytes, dataStart, end }: Packet): void {
    const { writer, mac } = this.#context;
    const length = this.#dhcp.answer(bytes.subarray(dataStart, end), this.#reply);
    if (length === 0) return;
    const at = writer.beginIp(BROADCAST_MAC, mac, this.#plan.gateway, EVERYBODY, UDP);
    this.#finish(at, length, DHCP_SERVER_PORT, DHCP_CLIENT_PORT);
    const given = this.#reply.subarray(DHCP_YOUR_ADDRESS, DHCP_YOUR_ADDRESS + 4);
    this.#context.events.observer?.({
      protocol: "dhcp",
      target: formatAddress(given),
      verdict: toNumber(given) === 0 ? "denied" : "answered",
    });
  }

  inputDhcp6({ bytes, addresses, destination, dataStart, end }: Packet): void {
    const { writer, mac } = this.#context;
    const guest = bytes.slice(addresses, destination);
    const length = this.#dhcp6.answer(bytes.subarray(dataStart, end), this.#reply);
    if (length === 0) return;
    const at = writer.beginIp(this.macOf(guest), mac, LINK_LOCAL_GATEWAY6, guest, UDP);
    this.#finish(at, length, DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT);
    this.#context.events.observer?.({ protocol: "dhcp", target: formatAddress(guest), verdict: "answered" });
  }

  /** Notes whose the packet of a guest is. */
  learn(frame: Uint8Array, macAt: number, addressAt: number, addressBytes: number): void {
    if (this.#neighbours.learn(frame, macAt, addressAt, addressBytes)) this.#context.learned();
  }

  /** Until the guest has sent something, it is asked for its Ethernet address, and frames are for everybody. */
  macOf(guest: Uint8Array): Uint8Array {
    const known = this.#neighbours.find(guest);
    if (known !== undefined) return known;
    const now = this.#context.now();
    if (guest.length === 4 && now - this.#askedAt >= ARP_INTERVAL_MS) {
      this.#askedAt = now;
      askArp(guest, this.#context.mac, this.#plan.gateway, this.#context.writer);
    }
    return BROADCAST_MAC;
  }

  clear(): void {
    this.#neighbours.clear();
  }

  /** Sends the reply behind the header that begins at `at`. */
  #finish(at: number, length: number, from: number, to: number): void {
    const { writer } = this.#context;
    put16(writer.bytes, at, from);
    put16(writer.bytes, at + 2, to);
    writer.bytes.set(this.#reply.subarray(0, length), at + 8);
    writer.finishIp(at + 8 + length);
  }

  /** Addresses at which this network answers ARP. */
  #isOurs(bytes: Uint8Array, at: number): boolean {
    return (
      areEqual(bytes, at, this.#plan.gateway, 0, 4) ||
      areEqual(bytes, at, METADATA, 0, 4) ||
      this.#context.hasServer(bytes, at)
    );
  }

  #isLocal(bytes: Uint8Array, at: number): boolean {
    return (toNumber(bytes, at) & this.#plan.mask) >>> 0 === this.#plan.base;
  }
}
