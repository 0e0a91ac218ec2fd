/**
 * vmexit/kvm: the KVM API for teaching and for building other monitors. One
 * method per ioctl, synchronous.
 */

export { SystemError } from "../sys/errors.ts";
export { EventFd } from "../sys/event.ts";
export { GuestRam, type GuestRamOptions } from "../sys/guest-ram.ts";
export * from "./abi.ts";
export { type CapabilityName, capabilities, capabilityName } from "./capabilities.ts";
export type { CpuidEntry } from "./cpuid.ts";
export { KvmError } from "./errors.ts";
export { Exit, exitName, INTERRUPTED, type IoExit, type MmioExit } from "./exit.ts";
export type { Fpu } from "./fpu.ts";
export { type GuestDebugAbilities, probeGuestDebug } from "./guest-debug-probe.ts";
export type { MsrEntry } from "./msr.ts";
export type { DescriptorTable, Regs, RegsChange, Segment, Sregs, SregsChange } from "./registers.ts";
export type { Counters, Stats } from "./stats.ts";
export { Kvm } from "./system.ts";
export { type GuestDebug, KVM_GUESTDBG_BLOCKIRQ, type Translation, Vcpu } from "./vcpu.ts";
export { type Clock, type Doorbell, type GsiRoute, type MemorySlot, type RegisteredSlot, Vm } from "./vm.ts";
