/** ICMP (RFC 792) and ICMPv6 (RFC 4443): echoes are answered, errors are reported with the start of what caused them. */
import { copyBytes, put16 } from "./bytes.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { ICMP, ICMPV6, type Packet } from "./packet.ts";

const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;
const ECHO_REQUEST6 = 128;
const ECHO_REPLY6 = 129;
const UNREACHABLE = 3;
const UNREACHABLE6 = 1;

/** RFC 1812, 4.3.2.3: as much as fits 576 bytes. */
const MAX_QUOTED_BYTES = 548;

export type Unreachable = "network" | "port" | "prohibited";
const CODES4: Readonly<Record<Unreachable, number>> = { network: 0, port: 3, prohibited: 13 };
const CODES6: Readonly<Record<Unreachable, number>> = { network: 0, port: 4, prohibited: 1 };

export function isEchoRequest({ bytes, protocol, start }: Packet): boolean {
  if (bytes[start + 1] !== 0) return false;
  return protocol === ICMP ? bytes[start] === ECHO_REQUEST : bytes[start] === ECHO_REQUEST6;
}

/** Answers an echo request in the name of the address that it was sent to. */
export function answerEcho(packet: Packet, writer: FrameWriter, mac: Uint8Array): void {
  const { bytes, addresses, destination, addressBytes, start, end, protocol } = packet;
  const source = bytes.slice(addresses, destination);
  const target = bytes.slice(destination, destination + addressBytes);
  const at = writer.beginIp(bytes.slice(6, 12), mac, target, source, protocol);
  writer.bytes.set(bytes.subarray(start, end), at);
  writer.bytes[at] = protocol === ICMP ? ECHO_REPLY : ECHO_REPLY6;
  writer.finishIp(at + end - start);
}

/** The start of a packet, as it is quoted in an error. */
export function quote({ bytes, ipStart, end }: Packet): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes.subarray(ipStart, Math.min(end, ipStart + MAX_QUOTED_BYTES)));
}

/** Says that a packet did not arrive: `quoted` is its start, `from` who says so. */
export function sendUnreachable(
  quoted: Uint8Array,
  why: Unreachable,
  from: Uint8Array,
  to: Uint8Array,
  macTo: Uint8Array,
  mac: Uint8Array,
  writer: FrameWriter,
): void {
  const is4 = to.length === 4;
  const at = writer.beginIp(macTo, mac, from, to, is4 ? ICMP : ICMPV6);
  const { bytes } = writer;
  bytes[at] = is4 ? UNREACHABLE : UNREACHABLE6;
  bytes[at + 1] = is4 ? CODES4[why] : CODES6[why];
  put16(bytes, at + 4, 0);
  put16(bytes, at + 6, 0);
  copyBytes(quoted, 0, bytes, at + 8, quoted.length);
  writer.finishIp(at + 8 + quoted.length);
}
