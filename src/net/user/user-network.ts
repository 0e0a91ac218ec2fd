/**
 * A network without privilege: the guest's packets end here, and their contents go on by the host's sockets, as the
 * user's own. What a guest sees is QEMU's user network: 10.0.2.0/24, gateway .2, name server .3, its own address .15 by
 * DHCP. Echo requests to other addresses leave by ping sockets, where the host permits them.
 */
import type { Duplex } from "node:stream";
import type { GuestLink, Network, Offload } from "../link.ts";
import { NetworkEvents, type NetworkObserver } from "../network-event.ts";
import { AddressService } from "./address-service.ts";
import { areEqual } from "./bytes.ts";
import { type Clock, systemClock } from "./clock.ts";
import { Deadlines } from "./deadlines.ts";
import { placeOf } from "./destination.ts";
import { DHCP_SERVER_PORT } from "./dhcp.ts";
import { DHCP6_SERVER_PORT } from "./dhcp6.ts";
import { FlowKey } from "./flow-table.ts";
import type { HostForward, OpenForward } from "./forwards.ts";
import { Fragments } from "./fragments.ts";
import { FrameWriter } from "./frame-writer.ts";
import { type Host, nodeHost } from "./host.ts";
import { answerEcho, isEchoRequest, quote, sendUnreachable, type Unreachable } from "./icmp.ts";
import { Ipv6Neighbourhood } from "./ipv6.ts";
import { NameServer } from "./name-server.ts";
import { type NetworkPlan, planNetwork, type UserNetworkOptions } from "./options.ts";
import { ETHERTYPE_ARP, ICMP, ICMPV6, Packet, TCP, UDP } from "./packet.ts";
import { Pings } from "./pings.ts";
import { TcpStack } from "./tcp/tcp-stack.ts";
import { TcpRouter } from "./tcp-router.ts";
import { UdpRouter } from "./udp-router.ts";
import { type UdpSession, UdpSessions } from "./udp-sessions.ts";
import { WaysIn } from "./ways-in.ts";

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
  readonly #clock: Clock;
  readonly #writer: FrameWriter;
  readonly #mac: Uint8Array;
  readonly #events = new NetworkEvents();
  readonly #packet = new Packet();
  readonly #fragments = new Fragments();
  readonly #addresses: AddressService;
  readonly #tcp: TcpStack;
  readonly #tcpRouter: TcpRouter;
  readonly #udp: UdpSessions;
  readonly #udpRouter: UdpRouter;
  readonly #pings: Pings;
  readonly #ipv6: Ipv6Neighbourhood | undefined;
  readonly #deadlines: Deadlines;
  readonly #waysIn: WaysIn;
  #isBlocked = false;
  #isClosed = false;

  /** @throws {OptionError} */
  constructor(
    options: UserNetworkOptions,
    link: GuestLink,
    { host = nodeHost, clock = systemClock }: UserNetworkWorld = {},
  ) {
    const plan = planNetwork(options);
    this.#plan = plan;
    this.#clock = clock;
    const writer = new FrameWriter(link);
    this.#writer = writer;
    const mac = Uint8Array.of(0x52, 0x55, ...plan.gateway);
    this.#mac = mac;
    this.#deadlines = new Deadlines(clock, (now) =>
      Math.min(this.#tcp.expire(now), this.#udp.expire(now), this.#pings.expire(now)),
    );
    const now = () => clock.now();
    this.#addresses = new AddressService(plan, options, {
      ...{ writer, mac, now, events: this.#events },
      mtu: () => link.mtu,
      hasServer: (bytes, at) => this.#tcpRouter.hasServer(bytes, at),
      learned: () => this.#tcp.retrySyns(),
    });
    const macOf = (guest: Uint8Array) => this.#addresses.macOf(guest);
    const wakeAt = (deadline: number) => this.#deadlines.wakeAt(deadline);
    const shared = { writer, mac, macOf, now, wakeAt };
    const names = new NameServer(host, options, plan.gateway, now);
    const world = { plan, options, host, names, events: this.#events };
    this.#tcpRouter = new TcpRouter(world);
    this.#tcp = new TcpStack({
      ...shared,
      blocked: () => {
        this.#isBlocked = true;
      },
      requested: (connection) => this.#tcpRouter.route(connection),
    });
    const refused = (session: UdpSession) => this.#reportClosedPort(session);
    this.#udp = new UdpSessions({ ...shared, refused });
    this.#udpRouter = new UdpRouter(world, refused);
    const prohibited = (quoted: Uint8Array, guest: Uint8Array) =>
      this.#sendUnreachable(quoted, "prohibited", guest);
    this.#pings = new Pings({ ...shared, prohibited }, world);
    if (options.ipv6 !== false) this.#ipv6 = new Ipv6Neighbourhood(writer, mac, options.restrict !== true);
    this.#waysIn = new WaysIn({ plan, host, tcp: this.#tcp, udp: this.#udp, router: this.#tcpRouter });
  }

  /** Opens the forwards. @throws {OptionError} if one cannot be opened; then none is open */
  open(): Promise<void> {
    return this.#waysIn.open();
  }

  input(frame: Uint8Array, { needsChecksum }: Readonly<Offload>): void {
    const packet = this.#packet;
    if (this.#isClosed || !packet.parse(frame, needsChecksum === 1)) return;
    if (areEqual(frame, 6, this.#mac, 0, 6)) return; // our own
    if (packet.etherType === ETHERTYPE_ARP) this.#addresses.inputArp(frame);
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
    this.#addresses.clear();
  }

  pause(): void {
    this.#deadlines.pause();
  }

  resume(): void {
    this.#deadlines.resume((ms) => {
      this.#tcp.postpone(ms);
      this.#udp.postpone(ms);
      this.#pings.postpone(ms);
    });
  }

  observe(observer: NetworkObserver | undefined): void {
    this.#events.observer = observer;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.reset();
    this.#isClosed = true;
    this.#deadlines.close();
    this.#pings.close();
    this.#tcpRouter.close();
    await this.#waysIn.close();
  }

  /** Where the guest is, if it took what DHCP offers first. */
  get guestAddress(): string {
    return this.#waysIn.guestAddress;
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
  connect(port: number, guestAddress = this.guestAddress): Promise<Duplex> {
    return this.#waysIn.connect(port, guestAddress);
  }

  /** Opens a port of the host that leads to the guest. */
  forward(forward: HostForward): Promise<OpenForward> {
    return this.#waysIn.forward(forward);
  }

  #inputIpv4(packet: Packet): void {
    const { gateway, dns } = this.#plan;
    const { addresses } = packet;
    if (packet.isFragment) {
      if (!this.#fragments.add(packet, this.#clock.now()) || !packet.parseTransport(false)) return;
    }
    const { bytes } = packet;
    if (packet.protocol === UDP && packet.destinationPort === DHCP_SERVER_PORT) {
      this.#addresses.inputDhcp(packet);
      return;
    }
    // A packet from one of our addresses is a lie; so is one from nobody.
    if (areEqual(bytes, addresses, gateway, 0, 4) || areEqual(bytes, addresses, dns, 0, 4)) return;
    if (bytes[addresses] === 0 || bytes[addresses] === 127) return;
    this.#addresses.learn(bytes, 6, addresses, 4);
    this.#inputTransport(packet);
  }

  #inputIpv6(packet: Packet): void {
    const ipv6 = this.#ipv6;
    if (ipv6 === undefined || ipv6.input(packet)) return;
    if (!ipv6.isGuest(packet)) return;
    this.#addresses.learn(packet.bytes, 6, packet.addresses, 16);
    if (packet.protocol === UDP && packet.destinationPort === DHCP6_SERVER_PORT)
      this.#addresses.inputDhcp6(packet);
    else this.#inputTransport(packet);
  }

  #inputTransport(packet: Packet): void {
    switch (packet.protocol) {
      case TCP:
        // Not even a reset (RFC 1122, 4.2.3.10): its source would be everybody.
        if (!this.#isForMany(packet)) this.#tcp.input(packet);
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
    if (this.#isForMany(packet)) return; // no answer, not even an error
    const session = this.#udp.add(FlowKey.of(packet));
    session.quoted = quote(packet);
    session.input(data);
    this.#udpRouter.route(session);
  }

  #isForMany({ bytes, destination, addressBytes }: Packet): boolean {
    if (addressBytes !== 4) return bytes[destination] === 0xff;
    return bytes[destination] >= 224 || areEqual(bytes, destination, this.#plan.broadcast, 0, 4);
  }

  #inputIcmp(packet: Packet): void {
    if (!isEchoRequest(packet)) return;
    const { bytes, destination, addressBytes } = packet;
    const target = bytes.slice(destination, destination + addressBytes);
    const place = placeOf(target, this.#plan);
    if (place === "gateway" || place === "name-server") answerEcho(packet, this.#writer, this.#mac);
    else if (place === "outside") this.#pings.input(packet);
  }

  #reportClosedPort({ quoted, key }: UdpSession): void {
    if (quoted.length > 0) this.#sendUnreachable(quoted, "port", key.guest, key.outer);
  }

  #sendUnreachable(quoted: Uint8Array, why: Unreachable, guest: Uint8Array, from?: Uint8Array): void {
    const source = from ?? (guest.length === 4 ? this.#plan.gateway : undefined);
    if (source === undefined) return;
    sendUnreachable(quoted, why, source, guest, this.#addresses.macOf(guest), this.#mac, this.#writer);
  }
}
