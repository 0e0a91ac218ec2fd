/** ARP for IPv4 over Ethernet (RFC 826). */
import { copyBytes, get16, put16 } from "./bytes.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { BROADCAST_MAC } from "./neighbours.ts";
import { ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4 } from "./packet.ts";

const REQUEST = 1;
const REPLY = 2;
const ARP_BYTES = 28;

// Offsets in a frame.
export const ARP_SENDER_MAC = ETHERNET_BYTES + 8;
export const ARP_SENDER = ETHERNET_BYTES + 14;
export const ARP_TARGET = ETHERNET_BYTES + 24;
const OPERATION = ETHERNET_BYTES + 6;

/** Whether a frame, which has ARP_BYTES, is about IPv4 over Ethernet. */
export function isArpForIpv4(frame: Uint8Array): boolean {
  const at = ETHERNET_BYTES;
  return get16(frame, at) === 1 && get16(frame, at + 2) === ETHERTYPE_IPV4 && get16(frame, at + 4) === 0x0604;
}

export function isArpRequest(frame: Uint8Array): boolean {
  return get16(frame, OPERATION) === REQUEST;
}

/** Writes what requests and replies have alike. */
function beginArp(writer: FrameWriter, to: Uint8Array, mac: Uint8Array, operation: number): void {
  const { bytes } = writer;
  writer.beginFrame(to, mac, ETHERTYPE_ARP);
  put16(bytes, ETHERNET_BYTES, 1);
  put16(bytes, ETHERNET_BYTES + 2, ETHERTYPE_IPV4);
  put16(bytes, ETHERNET_BYTES + 4, 0x0604);
  put16(bytes, OPERATION, operation);
  copyBytes(mac, 0, bytes, ARP_SENDER_MAC, 6);
}

/** Answers a request: its target has the Ethernet address `mac`. */
export function answerArp(request: Uint8Array, mac: Uint8Array, writer: FrameWriter): void {
  const { bytes } = writer;
  beginArp(writer, request.subarray(6, 12), mac, REPLY);
  copyBytes(request, ARP_TARGET, bytes, ARP_SENDER, 4);
  copyBytes(request, ARP_SENDER_MAC, bytes, ARP_SENDER + 4, 10);
  writer.sendFrame(ETHERNET_BYTES + ARP_BYTES);
}

/** Asks who has an address. */
export function askArp(address: Uint8Array, mac: Uint8Array, own: Uint8Array, writer: FrameWriter): void {
  const { bytes } = writer;
  beginArp(writer, BROADCAST_MAC, mac, REQUEST);
  copyBytes(own, 0, bytes, ARP_SENDER, 4);
  bytes.fill(0, ARP_SENDER + 4, ARP_TARGET);
  copyBytes(address, 0, bytes, ARP_TARGET, 4);
  writer.sendFrame(ETHERNET_BYTES + ARP_BYTES);
}
