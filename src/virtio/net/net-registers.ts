/**
 * What a driver of virtio-net sets, and the feature bits that several files read.
 *
 * Source: VIRTIO 1.2, 5.1.3 (Feature bits).
 */
import { layout } from "../../base/layout.ts";
import { ACCEPTS_CHECKSUM, ACCEPTS_TSO4, ACCEPTS_TSO6 } from "../../net/link.ts";
import { ACCEPTS_ECN } from "../../net/offloads.ts";

const NET_F_GUEST_CSUM = 1 << 1;
const NET_F_GUEST_TSO4 = 1 << 7;
const NET_F_GUEST_TSO6 = 1 << 8;
const NET_F_GUEST_ECN = 1 << 9;
export const NET_F_MRG_RXBUF = 1 << 15;

/** Features of frames for the guest, by what a sender may leave to it. */
export const TO_GUEST = [
  [ACCEPTS_CHECKSUM, NET_F_GUEST_CSUM],
  [ACCEPTS_TSO4, NET_F_GUEST_TSO4],
  [ACCEPTS_TSO6, NET_F_GUEST_TSO6],
  [ACCEPTS_ECN, NET_F_GUEST_ECN],
] as const;

/** Descriptors of each queue. */
export const NET_QUEUE_SIZE = 256;
export const MAC_BYTES = 6;
/** Addresses of each kind that the driver may list; more of them mean all. */
export const MAC_TABLE = 64;
/** A bit for each VLAN. */
const VLAN_BYTES = 4096 / 8;

/**
 * What the driver has set. `link` and `announce` are the host's wish; the features and
 * `offloads` are written at FEATURES_OK, the rest by the control queue.
 */
export const VirtioNetState = layout("virtio-net", 1, {
  features: "u32", // bits 0 to 31 that were negotiated
  offloads: "u32", // ACCEPTS_ bits that the driver takes now
  headerBytes: "u32", // of the header of each frame
  pairs: "u32", // queue pairs in use
  unicast: "u32", // entries of the two tables
  multicast: "u32",
  linkDown: "u8", // the host took the link down
  announce: "u8", // the driver is asked to announce its address
  promiscuous: "u8",
  allMulticast: "u8",
  allUnicast: "u8",
  noMulticast: "u8",
  noUnicast: "u8",
  noBroadcast: "u8",
  mac: { bytes: MAC_BYTES },
  unicastTable: { bytes: MAC_BYTES * MAC_TABLE },
  multicastTable: { bytes: MAC_BYTES * MAC_TABLE },
  vlans: { bytes: VLAN_BYTES },
});
export type NetRegisters = ReturnType<typeof VirtioNetState.view>;

/** ACCEPTS_ bits for the features of a driver, or for those of them that it has on now. */
export function guestOffloads(features: number): number {
  let offloads = 0;
  for (const [offload, feature] of TO_GUEST) if ((features & feature) !== 0) offloads |= offload;
  // 5.1.3.1: the others are of no use without it.
  return (offloads & ACCEPTS_CHECKSUM) === 0 ? 0 : offloads;
}

/** The features among `features` that the driver may switch off and on (5.1.6.5.6). */
export function switchableFeatures(features: number): number {
  return TO_GUEST.reduce((mask, [, feature]) => mask | (features & feature), 0);
}
