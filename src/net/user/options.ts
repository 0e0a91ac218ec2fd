/**
 * Options of the user network: QEMU's `-netdev user` by the same names and defaults, and what a program may add. Here
 * they are checked, once.
 */
import type { Duplex } from "node:stream";
import { OptionError } from "../../base/errors.ts";
import { formatAddress, fromNumber, parseIpv4, parseSubnet, toNumber } from "./addresses.ts";
import { type GuestForward, type HostForward, parseGuestForward, parseHostForward } from "./forwards.ts";
import type { Metadata } from "./metadata.ts";

/** A connection, or the first datagram or echo request of a session, that a guest begins. */
export interface ConnectionRequest {
  /** icmp: an echo request to an address outside. */
  readonly protocol: "tcp" | "udp" | "icmp";
  /** The name by which the guest found the address, if this network resolved it; else the address. */
  readonly host: string;
  readonly address: string;
  /** 0 for icmp. */
  readonly port: number;
  /** The server name of a TLS handshake, on the ports of `sniPorts`. */
  readonly sni?: string;
  /** Its end; for icmp the identifier of the requests is the port. */
  readonly guest: { readonly address: string; readonly port: number };
}

/**
 * allow: to the host's network, as without a program. deny: the guest is refused at once. redirect: to another
 * address. A Duplex is the other end itself (TCP only).
 */
export type ConnectionDecision =
  | "allow"
  | "deny"
  | { readonly redirect: { readonly host: string; readonly port: number } }
  | Duplex;

export interface DnsQuestion {
  readonly name: string;
  /** A, AAAA, MX …, or TYPE and a number. */
  readonly type: string;
}

/** Addresses are the answer, none of them that there are none; "forward": ask the host's resolvers; null: no such name. */
export type DnsDecision = readonly string[] | "forward" | null;

export interface UserNetworkOptions {
  /** The guest's network. Default 10.0.2.0/24. */
  readonly net?: string | undefined;
  /** The gateway, which is also the host's loopback. Default: the second address. */
  readonly host?: string | undefined;
  /** The name server. Default: the third address. */
  readonly dns?: string | undefined;
  /** The first of 16 addresses for guests. Default: the fifteenth. */
  readonly dhcpstart?: string | undefined;
  readonly hostname?: string | undefined;
  readonly domainname?: string | undefined;
  readonly dnssearch?: readonly string[] | undefined;
  /** The guest reaches nothing but what `hostfwd` and `guestfwd` name. */
  readonly restrict?: boolean | undefined;
  /** A folder, whose files are read by TFTP. */
  readonly tftp?: string | undefined;
  readonly bootfile?: string | undefined;
  readonly tftpServerName?: string | undefined;
  readonly hostfwd?: readonly (string | HostForward)[] | undefined;
  readonly guestfwd?: readonly (string | GuestForward)[] | undefined;
  /** Default true: the guest also has IPv6, fec0::/64. */
  readonly ipv6?: boolean | undefined;
  /** Resolvers in place of the host's. */
  readonly nameservers?: readonly string[] | undefined;

  onConnect?(request: ConnectionRequest): ConnectionDecision | Promise<ConnectionDecision>;
  onDns?(question: DnsQuestion): DnsDecision | Promise<DnsDecision>;
  /** Answers plain HTTP of the guest. */
  onHttp?(request: Request): Response | Promise<Response>;
  /** Where `onHttp` answers. Default 80. */
  readonly httpPorts?: readonly number[] | undefined;
  /** Where `onConnect` waits for the server name of TLS. Default 443. */
  readonly sniPorts?: readonly number[] | undefined;
  /** What a cloud would say at http://169.254.169.254. */
  readonly metadata?: Metadata | undefined;
  /** A sentence that somebody should see: a handler threw, a forward failed. */
  onNote?(message: string): void;
}

/** The options, checked and complete. */
export interface NetworkPlan {
  readonly base: number;
  readonly mask: number;
  readonly gateway: Uint8Array;
  readonly dns: Uint8Array;
  readonly broadcast: Uint8Array;
  readonly firstLease: number;
  readonly hostForwards: readonly HostForward[];
  readonly guestForwards: readonly GuestForward[];
}

export const LEASES = 16;

/** @throws {OptionError} */
export function planNetwork(options: UserNetworkOptions): NetworkPlan {
  const net = options.net ?? "10.0.2.0/24";
  const subnet = parseSubnet(net);
  if (subnet === undefined) throw new OptionError(`net=${net}: not an IPv4 network, such as 10.0.2.0/24`);
  const { base, mask } = subnet;
  const size = (~mask >>> 0) + 1;
  const inside = (key: "host" | "dns" | "dhcpstart", usual: number): Uint8Array => {
    const text = options[key];
    const address = text === undefined ? fromNumber(base + Math.min(usual, size - 2)) : parseIpv4(text);
    if (address === undefined) throw new OptionError(`${key}=${text}: not an IPv4 address`);
    const value = toNumber(address);
    if ((value & mask) >>> 0 !== base || value === base || value === base + size - 1) {
      throw new OptionError(`${key}=${formatAddress(address)}: not an address of a host in ${net}`);
    }
    return address;
  };
  const gateway = inside("host", 2);
  const dns = inside("dns", 3);
  const firstLease = inside("dhcpstart", 15);
  if (toNumber(gateway) === toNumber(dns)) throw new OptionError("host= and dns= are the same address");
  for (const [key, address] of [
    ["host", gateway],
    ["dns", dns],
  ] as const) {
    const distance = toNumber(address) - toNumber(firstLease);
    if (distance >= 0 && distance < Math.min(LEASES, size)) {
      throw new OptionError(
        `${key}=${formatAddress(address)} is among the ${LEASES} addresses from dhcpstart on`,
      );
    }
  }
  const guest = formatAddress(firstLease);
  return {
    base,
    mask,
    gateway,
    dns,
    broadcast: fromNumber(base + size - 1),
    firstLease: toNumber(firstLease),
    hostForwards: (options.hostfwd ?? []).map((each) =>
      typeof each === "string" ? parseHostForward(each, guest) : each,
    ),
    guestForwards: (options.guestfwd ?? []).map((each) =>
      typeof each === "string" ? parseGuestForward(each) : each,
    ),
  };
}
