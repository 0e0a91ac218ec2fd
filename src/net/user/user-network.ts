/**
 * A network without privilege: the guest's packets end here, and their contents go on by the host's sockets, as the
 * user's own. What a guest sees is QEMU's user network: 10.0.2.0/24, gateway .2, name server .3, its own address .15 by
 * DHCP. Echo requests to other addresses leave by ping sockets, where the host permits them.
 */
import type { Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import type { GuestLink, Network, Offload } from "../link.ts";
import { formatAddress, fromNumber, parseIpv4, toNumber } from "./addresses.ts";
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
import { type Alarm, type Clock, systemClock } from "./clock.ts";
import { LINK_LOCAL_GATEWAY6, METADATA, placeOf } from "./destination.ts";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpServer, MAX_DHCP_BYTES } from "./dhcp.ts";
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT, Dhcp6Server } from "./dhcp6.ts";
import { FlowKey } from "./flow-table.ts";
import type { HostForward } from "./forwards.ts";
import { Fragments } from "./fragments.ts";
import { FrameWriter } from "./frame-writer.ts";
import { type Host, nodeHost } from "./host.ts";
import { type OpenForward, openForward } from "./host-forwards.ts";
import { answerEcho, isEchoRequest, quote, sendUnreachable, type Unreachable } from "./icmp.ts";
import { Ipv6Neighbourhood } from "./ipv6.ts";
import { NameServer } from "./name-server.ts";
import { BROADCAST_MAC, Neighbours } from "./neighbours.ts";
import { type NetworkPlan, planNetwork, type UserNetworkOptions } from "./options.ts";
import { ETHERTYPE_ARP, ICMP, ICMPV6, Packet, TCP, UDP } from "./packet.ts";
import { Pings } from "./pings.ts";
import { TcpStack } from "./tcp/tcp-stack.ts";
import { TcpRouter } from "./tcp-router.ts";
import { UdpRouter } from "./udp-router.ts";
import { type UdpSession, UdpSessions } from "./udp-sessions.ts";

/** A guest that does not answer is asked for its Ethernet address once in this time. */
const ARP_INTERVAL_MS = 100;
const LEAST_SLEEP_MS = 5;
const LATE_MS = 20;

/** What tests replace. */
export interface UserNetworkWorld {
  readonly host?: Host;
  readonly clock?: Clock;
}

export interface UserNetworkCounters {
  readonly tcpConnections: number;
  readonly udpSessions: number;
  /** Echo requests to outside, by program and address. */
  readonly pings: number;
  readonly openStreams: number;
  readonly bufferedBytes: number;
}

export class UserNetwork implements Network {
  readonly #plan: NetworkPlan;
  readonly #host: Host;
  readonly #clock: Clock;
  readonly #writer: FrameWriter;
  readonly #mac: Uint8Array;
  readonly #nameServerMac: Uint8Array;
  readonly #packet = new Packet();
  readonly #neighbours = new Neighbours();
  readonly #fragments = new Fragments();
  readonly #tcp: TcpStack;
  readonly #tcpRouter: TcpRouter;
  readonly #udp: UdpSessions;
  readonly #udpRouter: UdpRouter;
  readonly #pings: Pings;
  readonly #dhcp: DhcpServer;
  readonly #dhcp6: Dhcp6Server;
  readonly #dhcpReply = new Uint8Array(MAX_DHCP_BYTES);
  readonly #ipv6: Ipv6Neighbourhood | undefined;
  readonly #alarm: Alarm;
  readonly #forwards = new Set<OpenForward>();
  #alarmAt = Number.POSITIVE_INFINITY;
  #pausedAt = -1;
  #isBlocked = false;
  #isClosed = false;
  #askedAt = Number.NEGATIVE_INFINITY;

  /** @throws {OptionError} */
  constructor(
    options: UserNetworkOptions,
    link: GuestLink,
    { host = nodeHost, clock = systemClock }: UserNetworkWorld = {},
  ) {
    const plan = planNetwork(options);
    this.#plan = plan;
    this.#host = host;
    this.#clock = clock;
    this.#writer = new FrameWriter(link);
    this.#mac = Uint8Array.of(0x52, 0x55, ...plan.gateway);
    this.#nameServerMac = Uint8Array.of(0x52, 0x55, ...plan.dns);
    this.#alarm = clock.alarm(() => this.#expire());
    const macOf = (guest: Uint8Array) => this.#macOf(guest);
    const now = () => clock.now();
    const wakeAt = (deadline: number) => this.#wakeAt(deadline);
    const refused = (session: UdpSession) => this.#reportClosedPort(session);
    const shared = { writer: this.#writer, mac: this.#mac, macOf, now, wakeAt };
    const names = new NameServer(host, options, plan.gateway, now);
    this.#tcpRouter = new TcpRouter(plan, options, host, names);
    this.#tcp = new TcpStack({
      ...shared,
      blocked: () => {
        this.#isBlocked = true;
      },
      requested: (connection) => this.#tcpRouter.route(connection),
    });
    this.#udp = new UdpSessions({ ...shared, refused });
    this.#udpRouter = new UdpRouter(plan, options, host, names, refused);
    const prohibited = (quoted: Uint8Array, guest: Uint8Array) =>
      this.#sendUnreachable(quoted, "prohibited", guest);
    this.#pings = new Pings({ ...shared, prohibited }, options, host, names);
    this.#dhcp = new DhcpServer(plan, options, () => link.mtu);
    this.#dhcp6 = new Dhcp6Server(options, this.#mac);
    if (options.ipv6 !== false)
      this.#ipv6 = new Ipv6Neighbourhood(this.#writer, this.#mac, options.restrict !== true);
  }

  /** Opens the forwards. @throws {OptionError} if one cannot be opened; then none is open */
  async open(): Promise<void> {
    try {
      for (const forward of this.#plan.hostForwards) await this.#open(forward);
    } catch (error) {
      await this.#closeForwards();
      throw error;
    }
  }

  input(frame: Uint8Array, { needsChecksum }: Readonly<Offload>): void {
    const packet = this.#packet;
    if (this.#isClosed || !packet.parse(frame, needsChecksum === 1)) return;
    if (areEqual(frame, 6, this.#mac, 0, 6)) return; // our own
    if (packet.etherType === ETHERTYPE_ARP) this.#inputArp(frame);
    else if (packet.family === 4) this.#inputIpv4(packet);
    else if (packet.family === 6) this.#inputIpv6(packet);
  }

  batchEnd(): void {
    this.#tcp.batchEnd();
  }

  room(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#tcp.room();
  }

  reset(): void {
    this.#tcp.clear();
    this.#udp.clear();
    this.#pings.clear();
    this.#fragments.clear();
    this.#neighbours.clear();
  }

  pause(): void {
    if (this.#pausedAt < 0) this.#pausedAt = this.#clock.now();
    this.#alarm.cancel();
    this.#alarmAt = Number.POSITIVE_INFINITY;
  }

  resume(): void {
    if (this.#pausedAt < 0) return;
    const pausedMs = this.#clock.now() - this.#pausedAt;
    this.#pausedAt = -1;
    this.#tcp.postpone(pausedMs);
    this.#udp.postpone(pausedMs);
    this.#pings.postpone(pausedMs);
    this.#expire();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.reset();
    this.#isClosed = true;
    this.#alarm.cancel();
    this.#pings.close();
    this.#tcpRouter.close();
    await this.#closeForwards();
  }

  /** Where the guest is, if it took what DHCP offers first. */
  get guestAddress(): string {
    return formatAddress(fromNumber(this.#plan.firstLease));
  }

  get counters(): UserNetworkCounters {
    return {
      tcpConnections: this.#tcp.size,
      udpSessions: this.#udp.size,
      pings: this.#pings.size,
      openStreams: this.#tcpRouter.openStreams,
      bufferedBytes: this.#tcp.buffered,
    };
  }

  /** Connects to a TCP port of the guest. @throws {Error} ECONNREFUSED, if nobody listens or answers there */
  async connect(port: number, guestAddress = this.guestAddress): Promise<Duplex> {
    const guest = parseIpv4(guestAddress);
    if (guest === undefined) throw new Error(`"${guestAddress}" is not an IPv4 address`);
    const [near, far] = duplexPair();
    const connection = this.#isClosed ? undefined : this.#tcp.connect(guest, port, this.#plan.gateway, far);
    const isOpen = await new Promise<boolean>((resolve) => {
      if (connection === undefined) resolve(false);
      else connection.onOutcome = resolve;
    });
    if (!isOpen) {
      near.destroy();
      const message = `the guest does not accept a connection at ${guestAddress}:${port}`;
      throw Object.assign(new Error(message), { code: "ECONNREFUSED" });
    }
    return near;
  }

  /** Opens a port of the host that leads to the guest. */
  async forward(forward: HostForward): Promise<OpenForward> {
    const open = await this.#open(forward);
    return {
      ...open,
      close: async () => {
        this.#forwards.delete(open);
        await open.close();
      },
    };
  }

  async #open(forward: HostForward): Promise<OpenForward> {
    const open = await openForward(forward, this.#plan, this.#host, {
      accept: (socket, guest, port) => this.#accept(socket, guest, port),
      sessions: this.#udp,
      gateway: this.#plan.gateway,
    });
    this.#forwards.add(open);
    return open;
  }

  async #closeForwards(): Promise<void> {
    const forwards = [...this.#forwards];
    this.#forwards.clear();
    await Promise.all(forwards.map((each) => each.close()));
  }

  #accept(socket: Socket, guest: Uint8Array, port: number): void {
    this.#tcpRouter.track(socket);
    const connection = this.#tcp.connect(guest, port, this.#plan.gateway, socket);
    if (connection === undefined) socket.resetAndDestroy();
  }

  #inputArp(frame: Uint8Array): void {
    if (!isArpForIpv4(frame)) return;
    const { gateway, dns } = this.#plan;
    const isSpoofed = areEqual(frame, ARP_SENDER, gateway, 0, 4) || areEqual(frame, ARP_SENDER, dns, 0, 4);
    if (isSpoofed) return;
    if (this.#isLocal(frame, ARP_SENDER)) this.#learn(frame, ARP_SENDER_MAC, ARP_SENDER, 4);
    if (!isArpRequest(frame)) return;
    if (areEqual(frame, ARP_TARGET, dns, 0, 4)) answerArp(frame, this.#nameServerMac, this.#writer);
    else if (this.#isOurs(frame, ARP_TARGET)) answerArp(frame, this.#mac, this.#writer);
  }

  /** Addresses at which this network answers ARP. */
  #isOurs(bytes: Uint8Array, at: number): boolean {
    return (
      areEqual(bytes, at, this.#plan.gateway, 0, 4) ||
      areEqual(bytes, at, METADATA, 0, 4) ||
      this.#tcpRouter.hasServer(bytes, at)
    );
  }

  #isLocal(bytes: Uint8Array, at: number): boolean {
    return (toNumber(bytes, at) & this.#plan.mask) >>> 0 === this.#plan.base;
  }

  #inputIpv4(packet: Packet): void {
    const { gateway, dns } = this.#plan;
    const { addresses } = packet;
    if (packet.isFragment) {
      if (!this.#fragments.add(packet, this.#clock.now()) || !packet.parseTransport(false)) return;
    }
    const { bytes } = packet;
    if (packet.protocol === UDP && packet.destinationPort === DHCP_SERVER_PORT) {
      this.#inputDhcp(packet);
      return;
    }
    // A packet from one of our addresses is a lie; so is one from nobody.
    if (areEqual(bytes, addresses, gateway, 0, 4) || areEqual(bytes, addresses, dns, 0, 4)) return;
    if (bytes[addresses] === 0 || bytes[addresses] === 127) return;
    this.#learn(bytes, 6, addresses, 4);
    this.#inputTransport(packet);
  }

  #inputIpv6(packet: Packet): void {
    const ipv6 = this.#ipv6;
    if (ipv6 === undefined || ipv6.input(packet)) return;
    if (!ipv6.isGuest(packet)) return;
    this.#learn(packet.bytes, 6, packet.addresses, 16);
    if (packet.protocol === UDP && packet.destinationPort === DHCP6_SERVER_PORT) this.#inputDhcp6(packet);
    else this.#inputTransport(packet);
  }

  #inputTransport(packet: Packet): void {
    switch (packet.protocol) {
      case TCP:
        this.#tcp.input(packet);
        return;
      case UDP:
        this.#inputUdp(packet);
        return;
      case ICMP:
      case ICMPV6:
        this.#inputIcmp(packet);
        return;
      default:
      // Other protocols have no socket that carries them.
    }
  }

  #inputUdp(packet: Packet): void {
    const known = this.#udp.find(packet);
    const data = packet.bytes.subarray(packet.dataStart, packet.end);
    if (known !== undefined) {
      known.input(data);
      return;
    }
    const { bytes, destination, addressBytes } = packet;
    const isForMany =
      addressBytes === 4 ? this.#isMulticastOrBroadcast(bytes, destination) : bytes[destination] === 0xff;
    if (isForMany) return; // no answer, not even an error
    const session = this.#udp.add(FlowKey.of(packet));
    session.quoted = quote(packet);
    session.input(data);
    this.#udpRouter.route(session);
  }

  #isMulticastOrBroadcast(bytes: Uint8Array, at: number): boolean {
    return bytes[at] >= 224 || areEqual(bytes, at, this.#plan.broadcast, 0, 4);
  }

  #inputIcmp(packet: Packet): void {
    if (!isEchoRequest(packet)) return;
    const { bytes, destination, addressBytes } = packet;
    const target = bytes.slice(destination, destination + addressBytes);
    const place = placeOf(target, this.#plan);
    if (place === "gateway" || place === "name-server") answerEcho(packet, this.#writer, this.#mac);
    else if (place === "outside") this.#pings.input(packet);
  }

  #inputDhcp(packet: Packet): void {
    const { bytes, dataStart, end } = packet;
    const length = this.#dhcp.answer(bytes.subarray(dataStart, end), this.#dhcpReply);
    if (length === 0) return;
    const writer = this.#writer;
    const at = writer.beginIp(BROADCAST_MAC, this.#mac, this.#plan.gateway, EVERYBODY, UDP);
    put16(writer.bytes, at, DHCP_SERVER_PORT);
    put16(writer.bytes, at + 2, DHCP_CLIENT_PORT);
    writer.bytes.set(this.#dhcpReply.subarray(0, length), at + 8);
    writer.finishIp(at + 8 + length);
  }

  #reportClosedPort({ quoted, key }: UdpSession): void {
    if (quoted.length > 0) this.#sendUnreachable(quoted, "port", key.guest, key.outer);
  }

  #inputDhcp6({ bytes, addresses, destination, dataStart, end }: Packet): void {
    const guest = bytes.slice(addresses, destination);
    const length = this.#dhcp6.answer(bytes.subarray(dataStart, end), this.#dhcpReply);
    if (length === 0) return;
    const writer = this.#writer;
    const at = writer.beginIp(this.#macOf(guest), this.#mac, LINK_LOCAL_GATEWAY6, guest, UDP);
    put16(writer.bytes, at, DHCP6_SERVER_PORT);
    put16(writer.bytes, at + 2, DHCP6_CLIENT_PORT);
    writer.bytes.set(this.#dhcpReply.subarray(0, length), at + 8);
    writer.finishIp(at + 8 + length);
  }

  #sendUnreachable(quoted: Uint8Array, why: Unreachable, guest: Uint8Array, from?: Uint8Array): void {
    const source = from ?? (guest.length === 4 ? this.#plan.gateway : undefined);
    if (source === undefined) return;
    sendUnreachable(quoted, why, source, guest, this.#macOf(guest), this.#mac, this.#writer);
  }

  #learn(frame: Uint8Array, macAt: number, addressAt: number, addressBytes: number): void {
    if (this.#neighbours.learn(frame, macAt, addressAt, addressBytes)) this.#tcp.retrySyns();
  }

  /** Until the guest has sent something, it is asked for its Ethernet address, and frames are for everybody. */
  #macOf(guest: Uint8Array): Uint8Array {
    const known = this.#neighbours.find(guest);
    if (known !== undefined) return known;
    const now = this.#clock.now();
    if (guest.length === 4 && now - this.#askedAt >= ARP_INTERVAL_MS) {
      this.#askedAt = now;
      askArp(guest, this.#mac, this.#plan.gateway, this.#writer);
    }
    return BROADCAST_MAC;
  }

  #wakeAt(deadline: number): void {
    if (deadline >= this.#alarmAt || this.#pausedAt >= 0 || this.#isClosed) return;
    this.#alarmAt = deadline;
    this.#alarm.set(Math.max(LEAST_SLEEP_MS, deadline - this.#clock.now()));
  }

  #expire(): void {
    const now = this.#clock.now();
    const isLate = now - this.#alarmAt > LATE_MS;
    this.#alarmAt = Number.POSITIVE_INFINITY;
    if (this.#pausedAt >= 0 || this.#isClosed) return;
    if (isLate) {
      // This thread did not run: what it waits for may be there already, and has its turn first.
      this.#wakeAt(now + LEAST_SLEEP_MS);
      return;
    }
    this.#wakeAt(Math.min(this.#tcp.expire(now), this.#udp.expire(now), this.#pings.expire(now)));
  }
}

const EVERYBODY = new Uint8Array(4).fill(255);
