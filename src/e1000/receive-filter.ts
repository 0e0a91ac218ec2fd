/**
 * Which frames the driver wants: by address and by VLAN.
 *
 * Source: 317453, 10.1 (packet address filtering) and 9.4 (802.1Q filtering).
 */
import { get16 } from "../net/user/bytes.ts";
import { type E1000Registers, RAH_AV, RCTL_BAM, RCTL_MPE, RCTL_UPE, RCTL_VFE } from "./registers.ts";

const ADDRESSES = 16;
/** RCTL.MO: which twelve bits of an address select one of the multicast table. */
const OFFSET_SHIFT = 12;
const HASH_SHIFT = [4, 3, 2, 0];

/** @param bytes the frame is at `start` */
export function isWanted(regs: E1000Registers, bytes: Uint8Array, start: number): boolean {
  const { rctl } = regs;
  if ((rctl & RCTL_VFE) !== 0 && get16(bytes, start + 12) === (regs.vet & 0xffff)) {
    const vlan = get16(bytes, start + 14) & 0xfff;
    if ((regs.vlans[vlan >>> 5] & (1 << (vlan & 31))) === 0) return false;
  }
  const isGroup = (bytes[start] & 1) !== 0;
  if ((rctl & (isGroup ? RCTL_MPE : RCTL_UPE)) !== 0) return true;
  const low = bytes[start] | (bytes[start + 1] << 8) | (bytes[start + 2] << 16) | (bytes[start + 3] << 24);
  const high = bytes[start + 4] | (bytes[start + 5] << 8);
  if (low === -1 && high === 0xffff && (rctl & RCTL_BAM) !== 0) return true;
  const { addresses, multicast } = regs;
  for (let n = 0; n < ADDRESSES; n++) {
    const upper = addresses[2 * n + 1];
    if ((upper & RAH_AV) === 0) continue;
    if (addresses[2 * n] === low >>> 0 && (upper & 0xffff) === high) return true;
  }
  if (!isGroup) return false;
  const shift = HASH_SHIFT[(rctl >>> OFFSET_SHIFT) & 3];
  const hash = (((bytes[start + 5] << 8) | bytes[start + 4]) >>> shift) & 0xfff;
  return (multicast[hash >>> 5] & (1 << (hash & 31))) !== 0;
}
