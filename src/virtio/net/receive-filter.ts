/**
 * Which frames a driver wants: by the address that they are for, and by VLAN.
 *
 * Source: VIRTIO 1.2, 5.1.6.5.1 to 5.1.6.5.3.
 */
import { NET_HEADER_BYTES } from "../../net/offloads.ts";
import { MAC_BYTES, MAC_TABLE, type NetRegisters } from "./net-registers.ts";

const DESTINATION = NET_HEADER_BYTES;
const TYPE = DESTINATION + 2 * MAC_BYTES;
const VLAN_TYPE = 0x8100;

/** @param bytes header and frame */
export function passesFilter(regs: NetRegisters, bytes: Uint8Array): boolean {
  if (((bytes[TYPE] << 8) | bytes[TYPE + 1]) === VLAN_TYPE) {
    const vlan = ((bytes[TYPE + 2] & 0xf) << 8) | bytes[TYPE + 3];
    if ((regs.vlans[vlan >> 3] & (1 << (vlan & 7))) === 0) return false;
  }
  if (regs.promiscuous !== 0) return true;
  if ((bytes[DESTINATION] & 1) !== 0) {
    if (isBroadcast(bytes)) return regs.noBroadcast === 0;
    if (regs.noMulticast !== 0) return false;
    const all = regs.allMulticast !== 0 || regs.multicast > MAC_TABLE;
    return all || isListed(regs.multicastTable, regs.multicast, bytes);
  }
  if (regs.noUnicast !== 0) return false;
  const all = regs.allUnicast !== 0 || regs.unicast > MAC_TABLE;
  return all || isListed(regs.mac, 1, bytes) || isListed(regs.unicastTable, regs.unicast, bytes);
}

function isBroadcast(bytes: Uint8Array): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (bytes[DESTINATION + i] !== 0xff) return false;
  return true;
}

function isListed(addresses: Uint8Array, count: number, bytes: Uint8Array): boolean {
  for (let n = 0; n < count; n++) {
    let i = 0;
    while (i < MAC_BYTES && addresses[MAC_BYTES * n + i] === bytes[DESTINATION + i]) i++;
    if (i === MAC_BYTES) return true;
  }
  return false;
}
