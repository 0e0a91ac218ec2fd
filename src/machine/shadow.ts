/**
 * Memory from which the guest reads registers without an exit: a read-only memory
 * slot at the address of the device's window. It is not guest RAM: GuestMemory
 * does not contain it, so a driver can neither place a virtqueue there nor make a
 * device write there.
 *
 * Source: Linux api.rst, 4.35 (KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY).
 */
import type { RamSource } from "../memory/guest-memory.ts";
import type { Board } from "./board.ts";
import type { Ports } from "./ports.ts";
import type { MachineSpec } from "./spec.ts";

/**
 * Finds the words behind a window among the board's read-only memory.
 * @param memories by name; if one is missing, reads of its registers exit
 */
export function shadowsOf(
  board: Board,
  spec: MachineSpec,
  memories: ReadonlyMap<string, RamSource>,
): Ports["shadow"] {
  const slots = board.kernel?.(spec).slots ?? [];
  return (address, length) => {
    const slot = slots.find((each) => {
      return each.readOnly && address >= each.address && address + length <= each.address + each.size;
    });
    const memory = slot === undefined ? undefined : memories.get(slot.memory);
    if (slot === undefined || memory === undefined) return undefined;
    return new Uint32Array(memory.map(slot.offset + address - slot.address, length));
  };
}
