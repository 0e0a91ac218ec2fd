/**
 * Which addresses of a guest's packets lead out, and where. A guest may write any address: those that mean the host
 * itself, everybody, or nobody are never passed to the host's sockets. The gateway's address is the host's loopback, as
 * with QEMU.
 */

import { formatAddress, toNumber } from "./addresses.ts";
import { areEqual, get16 } from "./bytes.ts";
import type { NetworkPlan } from "./options.ts";

/** IPv6 has QEMU's addresses too: fec0::/64, gateway fec0::2, name server fec0::3. */
export const GATEWAY6 = Uint8Array.of(0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
export const DNS6 = Uint8Array.of(0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3);
export const LINK_LOCAL_GATEWAY6 = Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
export const METADATA = Uint8Array.of(169, 254, 169, 254);

export type Place =
  /** The host's loopback. */
  | "gateway"
  | "name-server"
  /** The guest's own network: nobody, except a forward. */
  | "local"
  | "metadata"
  /** Never a destination of a connection. */
  | "martian"
  | "outside";

export function placeOf(address: Uint8Array, plan: NetworkPlan): Place {
  return address.length === 4 ? placeOf4(address, plan) : placeOf6(address);
}

/** The host's address for a place. */
export function hostAddressOf(place: Place, address: Uint8Array): string {
  if (place === "gateway") return address.length === 4 ? "127.0.0.1" : "::1";
  return formatAddress(address);
}

/** 0: this network; 127: loopback; 224 and above: multicast, reserved, broadcast (RFC 6890). */
function placeOf4(address: Uint8Array, { base, mask, gateway, dns }: NetworkPlan): Place {
  if (areEqual(address, 0, gateway, 0, 4)) return "gateway";
  if (areEqual(address, 0, dns, 0, 4)) return "name-server";
  if (areEqual(address, 0, METADATA, 0, 4)) return "metadata";
  if ((toNumber(address) & mask) >>> 0 === base) return "local";
  const first = address[0];
  return first === 0 || first === 127 || first >= 224 ? "martian" : "outside";
}

/**
 * Outside is what is global (2000::/3) or unique local (fc00::/7), except addresses that contain an IPv4 address: by
 * 6to4 (2002::/16), Teredo (2001::/32) or NAT64 they could mean a host that IPv4 rules exclude.
 */
function placeOf6(address: Uint8Array): Place {
  if (areEqual(address, 0, GATEWAY6, 0, 16) || areEqual(address, 0, LINK_LOCAL_GATEWAY6, 0, 16))
    return "gateway";
  if (areEqual(address, 0, DNS6, 0, 16)) return "name-server";
  if (areEqual(address, 0, GATEWAY6, 0, 8)) return "local";
  const first = get16(address, 0);
  const isUniqueLocal = address[0] >> 1 === 0x7e;
  const isGlobal = address[0] >> 5 === 1;
  const containsIpv4 = first === 0x2002 || (first === 0x2001 && address[2] === 0 && address[3] === 0);
  return isUniqueLocal || (isGlobal && !containsIpv4) ? "outside" : "martian";
}
