/**
 * Names of the reasons for exits, by their number in the tracepoint kvm:kvm_exit:
 * those that occur when Linux boots.
 *
 * Source: AMD64 Architecture Programmer's Manual, volume 2, appendix C (SVM
 * intercept exit codes); Intel SDM, volume 3, appendix C (VMX basic exit reasons).
 */

const SVM = new Map([
  [0x00, "CR0_READ"],
  [0x04, "CR4_READ"],
  [0x10, "CR0_WRITE"],
  [0x13, "CR3_WRITE"],
  [0x14, "CR4_WRITE"],
  [0x41, "EXCP_DB"],
  [0x46, "EXCP_UD"],
  [0x4e, "EXCP_PF"],
  [0x60, "INTR"],
  [0x61, "NMI"],
  [0x64, "VINTR"],
  [0x65, "CR0_SEL_WRITE"],
  [0x72, "CPUID"],
  [0x74, "IRET"],
  [0x76, "INVD"],
  [0x77, "PAUSE"],
  [0x78, "HLT"],
  [0x79, "INVLPG"],
  [0x7b, "IOIO"],
  [0x7c, "MSR"],
  [0x81, "VMMCALL"],
  [0x89, "WBINVD"],
  [0x8d, "XSETBV"],
  [0x400, "NPF"],
  [0x401, "AVIC_INCOMPLETE_IPI"],
  [0x402, "AVIC_NOACCEL"],
]);

const VMX = new Map([
  [0, "EXCEPTION_OR_NMI"],
  [1, "EXTERNAL_INTERRUPT"],
  [7, "INTERRUPT_WINDOW"],
  [10, "CPUID"],
  [12, "HLT"],
  [14, "INVLPG"],
  [18, "VMCALL"],
  [28, "CR_ACCESS"],
  [29, "DR_ACCESS"],
  [30, "IO_INSTRUCTION"],
  [31, "RDMSR"],
  [32, "WRMSR"],
  [40, "PAUSE"],
  [44, "APIC_ACCESS"],
  [45, "VIRTUALIZED_EOI"],
  [48, "EPT_VIOLATION"],
  [49, "EPT_MISCONFIGURATION"],
  [52, "PREEMPTION_TIMER"],
  [54, "WBINVD"],
  [55, "XSETBV"],
  [56, "APIC_WRITE"],
]);

/** The tracepoint's `isa`. */
const ISA_VMX = 1;

export function hardwareExitName(isa: number, reason: number): string {
  // In VMX the bits above the basic reason are flags.
  const [names, basic] = isa === ISA_VMX ? [VMX, reason & 0xffff] : [SVM, reason];
  return names.get(basic) ?? `0x${basic.toString(16)}`;
}
