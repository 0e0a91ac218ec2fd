/** CRC-32C (Castagnoli), which VHDX structures are checked with. Source: RFC 3720, appendix B.4; MS-VHDX 2.2.2. */

const POLYNOMIAL = 0x82f6_3b78; // reflected
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** @param hole offset of 4 bytes that count as zeros: where the sum itself is */
export function crc32c(bytes: Uint8Array, hole: number): number {
  let crc = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= hole && i < hole + 4 ? 0 : bytes[i];
    crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
