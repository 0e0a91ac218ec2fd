/**
 * The capabilities of KVM that this program uses, and for what.
 *
 * Numbers are those of <linux/kvm.h>.
 */
export interface Capability {
  readonly name: string;
  readonly number: number;
  /** Guests cannot run without it; the others are used where they are. */
  readonly needed: boolean;
  readonly use: string;
}

export const CAP_NR_VCPUS = 9;
export const CAP_MAX_VCPUS = 66;

export const CAPABILITIES: readonly Capability[] = [
  needed("KVM_CAP_IRQCHIP", 0, "interrupt controllers in the kernel"),
  needed("KVM_CAP_USER_MEMORY", 3, "guest RAM"),
  needed("KVM_CAP_SET_TSS_ADDR", 4, "real mode on Intel"),
  needed("KVM_CAP_EXT_CPUID", 7, "the guest's CPUID"),
  needed("KVM_CAP_IRQFD", 32, "interrupts from the I/O thread"),
  needed("KVM_CAP_IOEVENTFD", 36, "doorbells to the I/O thread"),
  needed("KVM_CAP_IMMEDIATE_EXIT", 136, "stopping a CPU without a race"),
  used("KVM_CAP_PIT2", 33, "the interval timer"),
  used("KVM_CAP_MP_STATE", 14, "starting further CPUs"),
  used("KVM_CAP_SET_IDENTITY_MAP_ADDR", 37, "real mode on Intel"),
  used("KVM_CAP_IRQ_ROUTING", 25, "interrupt routes"),
  used("KVM_CAP_SIGNAL_MSI", 77, "message-signalled interrupts"),
  used("KVM_CAP_TSC_DEADLINE_TIMER", 72, "a precise timer for the guest"),
  used("KVM_CAP_ADJUST_CLOCK", 39, "the paravirtual clock"),
  used("KVM_CAP_VCPU_EVENTS", 41, "reading and setting a CPU's state"),
  used("KVM_CAP_DEBUGREGS", 50, "reading and setting a CPU's state"),
  used("KVM_CAP_XSAVE", 55, "reading and setting a CPU's state"),
  used("KVM_CAP_XCRS", 56, "reading and setting a CPU's state"),
  used("KVM_CAP_SET_GUEST_DEBUG", 23, "single steps and breakpoints"),
  used("KVM_CAP_READONLY_MEM", 81, "read-only memory"),
  used("KVM_CAP_BINARY_STATS_FD", 203, "KVM's own counters"),
];

function needed(name: string, number: number, use: string): Capability {
  return { name, number, needed: true, use };
}

function used(name: string, number: number, use: string): Capability {
  return { name, number, needed: false, use };
}
