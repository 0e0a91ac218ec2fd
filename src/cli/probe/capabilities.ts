/** The capabilities of KVM that vmexit uses, and their purpose. */
import {
  KVM_CAP_ADJUST_CLOCK,
  KVM_CAP_BINARY_STATS_FD,
  KVM_CAP_DEBUGREGS,
  KVM_CAP_EXT_CPUID,
  KVM_CAP_IMMEDIATE_EXIT,
  KVM_CAP_IOEVENTFD,
  KVM_CAP_IRQ_ROUTING,
  KVM_CAP_IRQCHIP,
  KVM_CAP_IRQFD,
  KVM_CAP_MP_STATE,
  KVM_CAP_PIT2,
  KVM_CAP_READONLY_MEM,
  KVM_CAP_SET_GUEST_DEBUG,
  KVM_CAP_SET_IDENTITY_MAP_ADDR,
  KVM_CAP_SET_TSS_ADDR,
  KVM_CAP_SIGNAL_MSI,
  KVM_CAP_TSC_DEADLINE_TIMER,
  KVM_CAP_USER_MEMORY,
  KVM_CAP_VCPU_EVENTS,
  KVM_CAP_XCRS,
  KVM_CAP_XSAVE,
} from "../../kvm/abi.ts";

export interface Capability {
  readonly name: string;
  readonly number: number;
  /** Guests cannot run without it. The others are used if they are there. */
  readonly needed: boolean;
  readonly use: string;
}

export const CAPABILITIES: readonly Capability[] = [
  needed({ KVM_CAP_IRQCHIP }, "interrupt controllers in the kernel"),
  needed({ KVM_CAP_USER_MEMORY }, "guest RAM"),
  needed({ KVM_CAP_SET_TSS_ADDR }, "real mode on Intel"),
  needed({ KVM_CAP_EXT_CPUID }, "the guest's CPUID"),
  needed({ KVM_CAP_IOEVENTFD }, "doorbells to the I/O thread"),
  needed({ KVM_CAP_IMMEDIATE_EXIT }, "stopping a CPU without a race"),
  used({ KVM_CAP_PIT2 }, "the interval timer"),
  used({ KVM_CAP_MP_STATE }, "starting further CPUs"),
  used({ KVM_CAP_SET_IDENTITY_MAP_ADDR }, "real mode on Intel"),
  used({ KVM_CAP_IRQFD }, "interrupts from an event"),
  used({ KVM_CAP_IRQ_ROUTING }, "interrupt routes"),
  used({ KVM_CAP_SIGNAL_MSI }, "message-signalled interrupts"),
  used({ KVM_CAP_TSC_DEADLINE_TIMER }, "a precise timer for the guest"),
  used({ KVM_CAP_ADJUST_CLOCK }, "the paravirtual clock"),
  used({ KVM_CAP_VCPU_EVENTS }, "reading and setting a CPU's state"),
  used({ KVM_CAP_DEBUGREGS }, "reading and setting a CPU's state"),
  used({ KVM_CAP_XSAVE }, "reading and setting a CPU's state"),
  used({ KVM_CAP_XCRS }, "reading and setting a CPU's state"),
  used({ KVM_CAP_SET_GUEST_DEBUG }, "single steps and breakpoints"),
  used({ KVM_CAP_READONLY_MEM }, "reading registers of virtio devices without an exit"),
  used({ KVM_CAP_BINARY_STATS_FD }, "the counters of KVM"),
];

/** `constant` has one property: the name is for the report. */
function needed(constant: Readonly<Record<string, number>>, use: string): Capability {
  const [[name, number]] = Object.entries(constant);
  return { name, number, needed: true, use };
}

function used(constant: Readonly<Record<string, number>>, use: string): Capability {
  return { ...needed(constant, use), needed: false };
}
