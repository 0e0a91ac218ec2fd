/** IP addresses and their texts; the guest's subnet. */
import { isIPv4, isIPv6 } from "node:net";
import { get16, get32 } from "./bytes.ts";

export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const words = Array.from({ length: 8 }, (_, n) => get16(bytes, 2 * n).toString(16));
  // RFC 5952: the first of the longest runs of zero words is left out.
  let best = { at: 0, length: 0 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && words[at + length] === "0") length++;
    if (length > best.length) best = { at, length };
  }
  if (best.length < 2) return words.join(":");
  return `${words.slice(0, best.at).join(":")}::${words.slice(best.at + best.length).join(":")}`;
}

/** The bytes of an address; undefined if the text is not one. */
export function parseAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  const address = text.split("%")[0];
  if (!isIPv6(address)) return undefined;
  const [left, right] = address.split("::");
  const leftWords = wordsOf(left);
  const rightWords = right === undefined ? [] : wordsOf(right);
  const zeros = new Array<number>(8 - leftWords.length - rightWords.length).fill(0);
  const words = right === undefined ? leftWords : [...leftWords, ...zeros, ...rightWords];
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

function wordsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((part) => {
    if (!part.includes(".")) return [Number.parseInt(part, 16)];
    const [a, b, c, d] = part.split(".").map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

export function parseIpv4(text: string): Uint8Array | undefined {
  return isIPv4(text) ? parseAddress(text) : undefined;
}

export function toNumber(bytes: Uint8Array, at = 0): number {
  return get32(bytes, at) >>> 0;
}

export function fromNumber(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

export interface Subnet {
  readonly base: number;
  readonly mask: number;
}

/** `10.0.2.0/24`, `10.0.2.0/255.255.255.0`, `10.0.2.0` (its class decides, as in QEMU). */
export function parseSubnet(text: string): Subnet | undefined {
  const [address, size] = text.split("/");
  const bytes = parseIpv4(address);
  if (bytes === undefined) return undefined;
  const mask = size === undefined ? classMask(bytes[0]) : maskOf(size);
  if (mask === undefined) return undefined;
  return { base: (toNumber(bytes) & mask) >>> 0, mask };
}

function maskOf(size: string): number | undefined {
  if (/^\d+$/.test(size)) {
    const bits = Number(size);
    return bits >= 1 && bits <= 30 ? (-1 << (32 - bits)) >>> 0 : undefined;
  }
  const bytes = parseIpv4(size);
  const mask = bytes === undefined ? 0 : toNumber(bytes);
  const rest = ~mask >>> 0;
  return mask !== 0 && (rest & (rest + 1)) === 0 ? mask : undefined;
}

function classMask(first: number): number {
  if (first < 128) return 0xff000000;
  return first < 192 ? 0xffff0000 : 0xffffff00;
}
