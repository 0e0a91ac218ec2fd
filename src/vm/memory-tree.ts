/**
 * Guest-physical memory as a tree: RAM and ROM with their KVM slots, the devices
 * that exits go to, and the pages that KVM uses itself. A device inside ROM has
 * its registers there, so that the guest reads them without an exit. Pure: from
 * the slots and windows of a machine to data and text.
 */
import type { RegisteredSlot } from "../kvm/vm.ts";
import * as map from "../machine/memory-map.ts";

/** KVM_MEM_READONLY of struct kvm_userspace_memory_region. */
const READ_ONLY = 2;
/** x86-64's widest physical address. */
const SPACE = 2 ** 52;

/** A range of guest-physical addresses. */
export interface MemoryNode {
  readonly name: string;
  /**
   * space: only contains other nodes. device: accesses exit to this process; inside ROM, only writes do.
   * kvm: the kernel answers accesses.
   */
  readonly kind: "space" | "ram" | "rom" | "device" | "kvm";
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** RAM and ROM: the number of the KVM slot. */
  readonly slot?: number;
  /** RAM and ROM: where it lies in this process. */
  readonly hostAddress?: number;
  /** Lowest address first. */
  readonly children: readonly MemoryNode[];
}

export interface MemoryTree {
  readonly root: MemoryNode;
  /** One line for each node, children indented. */
  readonly text: string;
}

/** Fixed in KVM: arch/x86/kvm/ioapic.h and lapic.h; the last two are api.rst 4.40 and 4.36. */
const KERNEL: readonly MemoryNode[] = [
  { name: "ioapic", address: map.IOAPIC, size: 0x100 },
  { name: "local-apic", address: map.LOCAL_APIC, size: 0x1000 },
  { name: "identity-map", address: map.IDENTITY_MAP, size: 0x1000 },
  { name: "tss", address: map.TSS, size: 0x3000 },
].map((range) => ({ ...range, kind: "kvm", children: [] }));

export function memoryTree(
  slots: readonly RegisteredSlot[],
  windows: readonly { readonly name: string; readonly address: number; readonly length: number }[],
): MemoryTree {
  const devices = windows.map(({ name, address, length }): MemoryNode => {
    return { name, kind: "device", address, size: length, children: [] };
  });
  const memory = slots.map(({ slot, flags, guestPhysAddr, memorySize, userspaceAddr }): MemoryNode => {
    const kind = flags & READ_ONLY ? "rom" : "ram";
    const place = { address: guestPhysAddr, size: memorySize, hostAddress: userspaceAddr };
    const isInside = ({ address }: MemoryNode) =>
      address >= guestPhysAddr && address < guestPhysAddr + memorySize;
    return { name: kind, kind, ...place, slot, children: byAddress(devices.filter(isInside)) };
  });
  const isAlone = (device: MemoryNode) => !memory.some(({ children }) => children.includes(device));
  const isInHole = ({ address }: MemoryNode) => address >= map.HOLE && address < map.HIGH_RAM;
  const all = [...memory, ...devices.filter(isAlone), ...KERNEL];
  const hole: MemoryNode = {
    ...{ name: "hole", kind: "space", address: map.HOLE, size: map.HIGH_RAM - map.HOLE },
    children: byAddress(all.filter(isInHole)),
  };
  const children = byAddress([...all.filter((node) => !isInHole(node)), hole]);
  const root: MemoryNode = { name: "memory", kind: "space", address: 0, size: SPACE, children };
  return { root, text: textOf(root, "") };
}

function byAddress(nodes: readonly MemoryNode[]): MemoryNode[] {
  return [...nodes].sort((a, b) => a.address - b.address);
}

function textOf(node: MemoryNode, indent: string): string {
  const { name, kind, address, size, slot, hostAddress, children } = node;
  const hex = (number: number) => number.toString(16).padStart(16, "0");
  const backing = hostAddress === undefined ? "" : ` slot ${slot} at host 0x${hostAddress.toString(16)}`;
  const what = kind === "space" || kind === name ? "" : ` (${kind})`;
  const line = `${indent}${hex(address)}-${hex(address + size - 1)} ${name}${what}${backing}\n`;
  return line + children.map((child) => textOf(child, `${indent}  `)).join("");
}
