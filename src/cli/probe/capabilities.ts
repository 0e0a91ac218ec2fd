/** The capabilities of KVM that vmexit uses, and their purpose. */
import { KVM_CAP } from "../../kvm/abi.ts";
import type { CapabilityName } from "../../kvm/capabilities.ts";

export interface Capability {
  readonly name: string;
  readonly number: number;
  /** Guests cannot run without it. The others are used if they are there. */
  readonly needed: boolean;
  readonly use: string;
}

export const CAPABILITIES: readonly Capability[] = [
  needed("IRQCHIP", "interrupt controllers in the kernel"),
  needed("USER_MEMORY", "guest RAM"),
  needed("SET_TSS_ADDR", "real mode on Intel"),
  needed("EXT_CPUID", "the guest's CPUID"),
  needed("IOEVENTFD", "doorbells to the I/O thread"),
  needed("IMMEDIATE_EXIT", "stopping a CPU without a race"),
  used("PIT2", "the interval timer"),
  used("MP_STATE", "starting further CPUs"),
  used("SET_IDENTITY_MAP_ADDR", "real mode on Intel"),
  used("IRQFD", "interrupts from an event"),
  used("IRQ_ROUTING", "interrupt routes"),
  used("SIGNAL_MSI", "message-signalled interrupts"),
  used("TSC_DEADLINE_TIMER", "a precise timer for the guest"),
  used("ADJUST_CLOCK", "the paravirtual clock"),
  used("VCPU_EVENTS", "reading and setting a CPU's state"),
  used("DEBUGREGS", "reading and setting a CPU's state"),
  used("XSAVE", "reading and setting a CPU's state"),
  used("XCRS", "reading and setting a CPU's state"),
  used("SET_GUEST_DEBUG", "single steps and breakpoints"),
  used("READONLY_MEM", "reading registers of virtio devices without an exit"),
  used("BINARY_STATS_FD", "the counters of KVM"),
];

function needed(capability: CapabilityName, use: string): Capability {
  return { name: `KVM_CAP_${capability}`, number: KVM_CAP[capability], needed: true, use };
}

function used(capability: CapabilityName, use: string): Capability {
  return { ...needed(capability, use), needed: false };
}
