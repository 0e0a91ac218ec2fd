/**
 * The pages from which a guest reads the registers of its virtio devices: one
 * for each window, in one run of memory that KVM shows the guest read-only.
 * They are no guest RAM: GuestMemory does not know them, so no virtqueue can
 * lie there and no device can be made to write them.
 *
 * Source: Linux api.rst, 4.35 (KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY).
 */
import { VIRTIO_MMIO_STRIDE } from "../machine/memory-map.ts";
import { GuestRam } from "../sys/guest-ram.ts";

/** Bytes for the windows of that many devices. */
export function registerPagesBytes(virtioDevices: number): number {
  return virtioDevices * VIRTIO_MMIO_STRIDE;
}

/** The words of the page of virtio device `slot`. */
export function registerPage(pages: GuestRam, slot: number): Uint32Array {
  return new Uint32Array(pages.map(slot * VIRTIO_MMIO_STRIDE, VIRTIO_MMIO_STRIDE));
}

/** The same on another thread, by token. Without one there are no pages, and reads are exits. */
export function attachRegisterPages(token: number | undefined): (slot: number) => Uint32Array | undefined {
  if (token === undefined) return () => undefined;
  const pages = GuestRam.attach(token);
  return (slot) => registerPage(pages, slot);
}
