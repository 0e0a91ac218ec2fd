/** The interrupt of a virtio device, from whichever thread has the VM: looked up once, then a system call a pulse. */
import type { IrqPulse } from "../bus/io.ts";
import type { Vm } from "../kvm/vm.ts";
import { virtioPlace } from "../machine/microvm.ts";

export function virtioInterrupt(vm: Vm, slot: number): IrqPulse {
  const { irq } = virtioPlace(slot);
  return { pulse: () => vm.pulseIrqLine(irq) };
}
