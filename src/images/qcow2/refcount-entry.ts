/**
 * One refcount in a block, of any width from 1 to 64 bits. A 64-bit count that a
 * number cannot hold exactly reads as the largest that it can.
 *
 * Source: QEMU docs/interop/qcow2.txt, Host cluster management: entries of less
 * than a byte start at the least significant bit.
 */

export function getRefcount(view: DataView, start: number, index: number, order: number): number {
  switch (order) {
    case 3:
      return view.getUint8(start + index);
    case 4:
      return view.getUint16(start + 2 * index);
    case 5:
      return view.getUint32(start + 4 * index);
    case 6:
      return Math.min(
        Number.MAX_SAFE_INTEGER,
        view.getUint32(start + 8 * index) * 2 ** 32 + view.getUint32(start + 8 * index + 4),
      );
    default: {
      const bit = index << order;
      return (view.getUint8(start + (bit >> 3)) >> (bit & 7)) & ((1 << (1 << order)) - 1);
    }
  }
}

export function setRefcount(
  view: DataView,
  start: number,
  index: number,
  order: number,
  count: number,
): void {
  switch (order) {
    case 3:
      view.setUint8(start + index, count);
      break;
    case 4:
      view.setUint16(start + 2 * index, count);
      break;
    case 5:
      view.setUint32(start + 4 * index, count);
      break;
    case 6:
      view.setUint32(start + 8 * index, Math.floor(count / 2 ** 32));
      view.setUint32(start + 8 * index + 4, count % 2 ** 32);
      break;
    default: {
      const bit = index << order;
      const mask = ((1 << (1 << order)) - 1) << (bit & 7);
      const at = start + (bit >> 3);
      view.setUint8(at, (view.getUint8(at) & ~mask) | (count << (bit & 7)));
    }
  }
}
