/**
 * The 8259A interrupt controllers of KVM, as initialisation words leave them.
 *
 * Source: Linux api.rst, 4.26 (KVM_GET_IRQCHIP); struct kvm_pic_state in <asm/kvm.h>.
 */
import { KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip, kvm_pic_state } from "./abi.ts";
import type { Vm } from "./vm.ts";

export interface PicSettings {
  /** Vector of input 0; a multiple of 8. */
  readonly irqBase: number;
  /** A bit for each input that is masked. */
  readonly imr: number;
}

/** Programs both controllers; their other state stays. */
export function programPics(vm: Vm, master: PicSettings, slave: PicSettings): void {
  for (const [chip, { irqBase, imr }] of [
    [KVM_IRQCHIP_PIC_MASTER, master],
    [KVM_IRQCHIP_PIC_SLAVE, slave],
  ] as const) {
    const state = vm.getIrqchip(chip);
    state[kvm_irqchip.chip + kvm_pic_state.irq_base] = irqBase;
    state[kvm_irqchip.chip + kvm_pic_state.imr] = imr;
    vm.setIrqchip(state);
  }
}
