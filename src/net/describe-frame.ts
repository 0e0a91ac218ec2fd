/**
 * A frame in one line, as tcpdump would: for people who watch a network. Any bytes are accepted; what a frame does
 * not have is not in the line.
 */
import { formatAddress } from "./user/addresses.ts";
import { get16, get32 } from "./user/bytes.ts";
import { DNS_PORT, questionOf } from "./user/dns-message.ts";

const ETHERNET_BYTES = 14;
const ARP = 0x0806;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const VLAN = 0x8100;
const ICMP = 1;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;
const DHCP_SERVER = 67;
const DHCP_CLIENT = 68;
const DHCP_OPTIONS = 240;
const DHCP_MESSAGE_TYPE = 53;

const TCP_FLAGS = ["F", "S", "R", "P", ".", "U", "E", "W"];
const DHCP_TYPES = ["", "Discover", "Offer", "Request", "Decline", "ACK", "NAK", "Release", "Inform"];
const ICMP_TYPES = new Map([
  [0, "echo reply"],
  [3, "unreachable"],
  [8, "echo request"],
  [11, "time exceeded"],
]);
const ICMPV6_TYPES = new Map([
  [1, "unreachable"],
  [2, "packet too big"],
  [128, "echo request"],
  [129, "echo reply"],
  [133, "router solicitation"],
  [134, "router advertisement"],
  [135, "neighbour solicitation"],
  [136, "neighbour advertisement"],
]);

export function describeFrame(frame: Uint8Array): string {
  if (frame.length < ETHERNET_BYTES) return `${frame.length} bytes`;
  const type = get16(frame, 12);
  if (type === VLAN && frame.length >= 18) {
    const inner = Buffer.concat([frame.subarray(0, 12), frame.subarray(16)]);
    return `VLAN ${get16(frame, 14) & 0xfff} ${describeFrame(inner)}`;
  }
  const text =
    type === ARP ? arp(frame) : type === IPV4 ? ipv4(frame) : type === IPV6 ? ipv6(frame) : undefined;
  return text ?? `${mac(frame, 6)} > ${mac(frame, 0)} type 0x${type.toString(16).padStart(4, "0")}`;
}

function arp(frame: Uint8Array): string | undefined {
  if (frame.length < 42) return undefined;
  const [sender, target] = [address(frame, 28, 4), address(frame, 38, 4)];
  const operation = get16(frame, 20);
  if (operation === 1) return `ARP who has ${target}? ${sender} asks`;
  return operation === 2 ? `ARP ${sender} is at ${mac(frame, 22)}` : undefined;
}

function ipv4(frame: Uint8Array): string | undefined {
  const start = ETHERNET_BYTES + (frame[ETHERNET_BYTES] & 15) * 4;
  if (frame.length < 34 || start < 34) return undefined;
  const end = Math.min(frame.length, ETHERNET_BYTES + get16(frame, 16));
  const [from, to] = [address(frame, 26, 4), address(frame, 30, 4)];
  if ((get16(frame, 20) & 0x1fff) !== 0) return `IP ${from} > ${to} fragment`;
  return `IP ${transport(frame, frame[23], start, end, from, to)}`;
}

function ipv6(frame: Uint8Array): string | undefined {
  if (frame.length < 54) return undefined;
  const end = Math.min(frame.length, 54 + get16(frame, 18));
  return `IP6 ${transport(frame, frame[20], 54, end, address(frame, 22, 16), address(frame, 38, 16))}`;
}

function transport(
  frame: Uint8Array,
  protocol: number,
  start: number,
  end: number,
  from: string,
  to: string,
): string {
  const ports = () => `${from}.${get16(frame, start)} > ${to}.${get16(frame, start + 2)}`;
  if (protocol === TCP && end >= start + 20) return `${ports()} ${tcp(frame, start, end)}`;
  if (protocol === UDP && end >= start + 8) return `${ports()} ${udp(frame, start, end)}`;
  if ((protocol === ICMP || protocol === ICMPV6) && end >= start + 8) {
    const names = protocol === ICMP ? ICMP_TYPES : ICMPV6_TYPES;
    return `${from} > ${to} ICMP ${names.get(frame[start]) ?? `type ${frame[start]}`}`;
  }
  return `${from} > ${to} protocol ${protocol}`;
}

function tcp(frame: Uint8Array, start: number, end: number): string {
  const flags = TCP_FLAGS.filter((_, bit) => (frame[start + 13] & (1 << bit)) !== 0).join("");
  const length = Math.max(0, end - start - (frame[start + 12] >> 4) * 4);
  const sequence = get32(frame, start + 4) >>> 0;
  const ack = (frame[start + 13] & 16) === 0 ? "" : ` ack ${get32(frame, start + 8) >>> 0}`;
  return `TCP [${flags}] seq ${sequence}${ack} win ${get16(frame, start + 14)} length ${length}`;
}

function udp(frame: Uint8Array, start: number, end: number): string {
  const data = frame.subarray(start + 8, end);
  const [from, to] = [get16(frame, start), get16(frame, start + 2)];
  if (from === DHCP_SERVER || to === DHCP_SERVER || to === DHCP_CLIENT) {
    const type = dhcpType(data);
    if (type !== undefined) return `DHCP ${type}`;
  }
  const question = to === DNS_PORT ? questionOf(data) : undefined;
  if (question !== undefined) return `DNS ${question.type}? ${question.name}`;
  return `${from === DNS_PORT ? "DNS answer" : "UDP"} length ${data.length}`;
}

function dhcpType(message: Uint8Array): string | undefined {
  for (let at = DHCP_OPTIONS; at + 2 < message.length && message[at] !== 255; ) {
    if (message[at] === DHCP_MESSAGE_TYPE) return DHCP_TYPES[message[at + 2]];
    at += message[at] === 0 ? 1 : 2 + message[at + 1];
  }
  return undefined;
}

function address(frame: Uint8Array, at: number, bytes: number): string {
  return formatAddress(frame.subarray(at, at + bytes));
}

function mac(frame: Uint8Array, at: number): string {
  return Buffer.from(frame.subarray(at, at + 6))
    .toString("hex")
    .replace(/..(?!$)/g, "$&:");
}
