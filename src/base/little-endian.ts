/** @returns `size` bytes from `offset` on, low byte first; beyond the end they are 0 */
export function littleEndian(bytes: DataView, offset: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size && offset + i < bytes.byteLength; i++) {
    value |= bytes.getUint8(offset + i) << (8 * i);
  }
  return value >>> 0;
}
