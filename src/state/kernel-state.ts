/**
 * What KVM keeps of a VM besides its vCPUs: interrupt controllers, the i8254
 * timer if there is one, the paravirtual clock.
 *
 * Source: Linux api.rst, 4.26 KVM_GET_IRQCHIP, 4.72 KVM_GET_PIT2, 4.29 KVM_GET_CLOCK.
 */
import * as abi from "../kvm/abi.ts";
import { KvmError } from "../kvm/errors.ts";
import type { Vm } from "../kvm/vm.ts";
import type { SectionReader } from "./cpu-state.ts";
import type { Section } from "./sections.ts";

const CHIPS = {
  "irqchip/pic-master": abi.KVM_IRQCHIP_PIC_MASTER,
  "irqchip/pic-slave": abi.KVM_IRQCHIP_PIC_SLAVE,
  "irqchip/ioapic": abi.KVM_IRQCHIP_IOAPIC,
} as const;
const PIT = "pit";
const CLOCK = "clock";

export function saveKernelState(vm: Vm): Section[] {
  const chips = Object.entries(CHIPS).map(([name, chip]) => ({
    name,
    version: 1,
    bytes: vm.getIrqchip(chip),
  }));
  const pit = pitOf(vm);
  const clock = new Uint8Array(8);
  new DataView(clock.buffer).setBigUint64(0, vm.getClock().clock, true);
  return [
    ...chips,
    ...(pit === undefined ? [] : [{ name: PIT, version: 1, bytes: pit }]),
    { name: CLOCK, version: 1, bytes: clock },
  ];
}

export interface KernelState {
  readonly chips: readonly Uint8Array[];
  readonly pit: Uint8Array | undefined;
  /** Nanoseconds. */
  readonly clock: bigint;
}

/** @throws {SnapshotError} for a section that is missing or of another size */
export function readKernelState(sections: SectionReader): KernelState {
  const chips = Object.entries(CHIPS).map(([name, chip]) => {
    const bytes = sections.exactly(name, abi.kvm_irqchip.sizeof).slice();
    // Which chip it is decides where KVM writes: the name of the section says it.
    new DataView(bytes.buffer).setUint32(abi.kvm_irqchip.chip_id, chip, true);
    return bytes;
  });
  const clock = sections.exactly(CLOCK, 8);
  return {
    chips,
    pit: sections.has(PIT) ? sections.exactly(PIT, abi.kvm_pit_state2.sizeof) : undefined,
    clock: new DataView(clock.buffer, clock.byteOffset).getBigUint64(0, true),
  };
}

/**
 * After the lines were driven, which changes what is pending in the chips; before the vCPUs.
 * @param passedNs the time since then that the guest's clock is to show
 */
export function restoreKernelState(vm: Vm, { chips, pit, clock }: KernelState, passedNs = 0): void {
  for (const chip of chips) vm.setIrqchip(chip);
  if (pit !== undefined) vm.setPit2(pit);
  vm.setClock(clock + BigInt(passedNs));
}

/** Undefined without one: KVM then says ENXIO. */
function pitOf(vm: Vm): Uint8Array | undefined {
  try {
    return vm.getPit2();
  } catch (error) {
    if (error instanceof KvmError) return undefined;
    throw error;
  }
}
