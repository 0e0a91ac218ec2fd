/**
 * What KVM should have now, computed from the registers of a machine: memory
 * slots, doorbells and message routes. Pure. Whenever a register changes that
 * affects them, threads/kernel-side.ts compares the result with what KVM has and
 * applies the difference. So one mechanism handles a moved BAR, a shadowed ROM, a
 * VGA window, a plugged device and a restored machine.
 *
 * Source: Linux api.rst, 4.35 (KVM_SET_USER_MEMORY_REGION), 4.59 (KVM_IOEVENTFD),
 * 4.52 (KVM_SET_GSI_ROUTING).
 */
import {
  type DoorbellWish,
  type KernelWishes,
  type MessageWish,
  RAM,
  type SlotWish,
} from "./kernel-wishes.ts";
import type { Machine } from "./machine.ts";

export interface KernelMap {
  /** RAM first, lowest address first; then what boards and parts add. */
  readonly slots: readonly SlotWish[];
  readonly doorbells: readonly DoorbellWish[];
  readonly messages: readonly MessageWish[];
}

/** @returns what KVM should have for `machine`, as its registers are now. */
export function kernelMap(machine: Machine): KernelMap {
  const { board, spec } = machine;
  const ram = board.fixedRam?.(spec) ?? spec.ram;
  const slots: SlotWish[] = ram.map(({ address, size, offset }) => {
    return { memory: RAM, offset, address, size, readOnly: false };
  });
  const doorbells: DoorbellWish[] = [];
  const messages: MessageWish[] = [];
  const add = (wishes: KernelWishes) => {
    slots.push(...(wishes.slots ?? []));
    doorbells.push(...(wishes.doorbells ?? []));
    messages.push(...(wishes.messages ?? []));
  };
  add(board.kernel?.(spec) ?? {});
  for (const { made } of machine.parts.values()) {
    if (made.kernel === undefined) continue;
    made.lock.acquire();
    try {
      add(made.kernel());
    } finally {
      made.lock.release();
    }
  }
  return { slots: slots.filter(isFirst), doorbells: doorbells.filter(isFirstBell), messages };
}

/** The guest may have moved one memory over another. KVM does not allow overlaps, so only the first one is kept. */
function isFirst(slot: SlotWish, index: number, slots: readonly SlotWish[]): boolean {
  const end = slot.address + slot.size;
  return !slots
    .slice(0, index)
    .some((other) => other.address < end && slot.address < other.address + other.size);
}

/** The same for two doorbells that one write would signal. */
function isFirstBell(bell: DoorbellWish, index: number, bells: readonly DoorbellWish[]): boolean {
  return !bells.slice(0, index).some((other) => {
    const isSameValue = other.datamatch === bell.datamatch || other.datamatch === undefined;
    return other.address === bell.address && (other.port ?? false) === (bell.port ?? false) && isSameValue;
  });
}
