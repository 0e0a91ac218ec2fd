/** The bytes of an address as in 52:54:00:12:34:56, which was checked before. */
export function parseMac(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16));
}
