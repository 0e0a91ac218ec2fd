/**
 * Whether the hardware under KVM is the lab's emulator. Its AMD-V takes DR7 from
 * the VMCB and does not arm the breakpoints in it (QEMU's helper_vmrun), so that
 * no guest there ever meets one in a debug register.
 */
export const inEmulator: boolean = process.env.VMEXIT_LAB !== undefined;
