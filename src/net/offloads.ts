/**
 * Work on frames that one side may leave to the other: what a back end can do for a
 * guest, and what a guest's driver accepts. Bits, of which link.ts has the first three.
 *
 * Source: <linux/if_tun.h>: the numbers are those of TUN_F_CSUM and the others.
 */
import { ACCEPTS_CHECKSUM, ACCEPTS_TSO4, ACCEPTS_TSO6 } from "./link.ts";

/** A long TCP segment may have ECN's CWR flag. */
export const ACCEPTS_ECN = 8;

export const ALL_OFFLOADS = ACCEPTS_CHECKSUM | ACCEPTS_TSO4 | ACCEPTS_TSO6 | ACCEPTS_ECN;

/** struct virtio_net_hdr with num_buffers: what is before each frame (VIRTIO 1.2, 5.1.6). */
export const NET_HEADER_BYTES = 12;
/** Its flags. */
export const HDR_F_NEEDS_CSUM = 1;
export const HDR_F_DATA_VALID = 2;
/** The longest frame: an IP packet of 64 KiB, the Ethernet header and a VLAN tag. */
export const MAX_FRAME_BYTES = 65_535 + 14 + 4;
