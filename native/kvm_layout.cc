// The KVM structs and constants as the compiler sees them in <linux/kvm.h>.
//
// src/kvm/abi.ts is written from these tables (scripts/kvm-abi.mjs), and a test
// compares the two; nobody counts bytes by hand. The macros below exist because
// only the preprocessor can turn a member's name into its offset and its text.

#include "kvm_layout.h"

#include <cstddef>

#include "kvm_api.h"

namespace vmexit {
namespace {

struct Named {
  const char* name;
  double value;
};

struct Struct {
  const char* name;
  std::initializer_list<Named> members;
};

#define SIZE(type) \
  { "sizeof", sizeof(type) }
#define MEMBER(type, name) \
  { #name, offsetof(type, name) }
// A member of a union in kvm_run: io.port is called io_port.
#define EXIT(exit, name) \
  { #exit "_" #name, offsetof(kvm_run, exit.name) }
#define CONSTANT(name) \
  { #name, static_cast < double>(name) }

Napi::Object ToObject(Napi::Env env, std::initializer_list<Named> members) {
  Napi::Object object = Napi::Object::New(env);
  for (const Named& member : members) object.Set(member.name, member.value);
  return object;
}

}  // namespace

Napi::Object KvmLayout(Napi::Env env) {
  Napi::Object all = Napi::Object::New(env);
  const Struct structs[] = {
      {"kvm_run",
       {
           SIZE(kvm_run),
           MEMBER(kvm_run, immediate_exit),
           MEMBER(kvm_run, exit_reason),
           MEMBER(kvm_run, flags),
           MEMBER(kvm_run, kvm_valid_regs),
           MEMBER(kvm_run, s),
           EXIT(hw, hardware_exit_reason),
           EXIT(fail_entry, hardware_entry_failure_reason),
           EXIT(fail_entry, cpu),
           EXIT(io, direction),
           EXIT(io, size),
           EXIT(io, port),
           EXIT(io, count),
           EXIT(io, data_offset),
           EXIT(debug, arch.exception),
           EXIT(debug, arch.pc),
           EXIT(debug, arch.dr6),
           EXIT(debug, arch.dr7),
           EXIT(mmio, phys_addr),
           EXIT(mmio, data),
           EXIT(mmio, len),
           EXIT(mmio, is_write),
           EXIT(internal, suberror),
           EXIT(internal, ndata),
           EXIT(internal, data),
           EXIT(emulation_failure, flags),
           EXIT(emulation_failure, insn_size),
           EXIT(emulation_failure, insn_bytes),
           EXIT(system_event, type),
           EXIT(eoi, vector),
       }},
      {"kvm_regs",
       {
           SIZE(kvm_regs),           MEMBER(kvm_regs, rax),
           MEMBER(kvm_regs, rbx),    MEMBER(kvm_regs, rcx),
           MEMBER(kvm_regs, rdx),    MEMBER(kvm_regs, rsi),
           MEMBER(kvm_regs, rdi),    MEMBER(kvm_regs, rsp),
           MEMBER(kvm_regs, rbp),    MEMBER(kvm_regs, r8),
           MEMBER(kvm_regs, r9),     MEMBER(kvm_regs, r10),
           MEMBER(kvm_regs, r11),    MEMBER(kvm_regs, r12),
           MEMBER(kvm_regs, r13),    MEMBER(kvm_regs, r14),
           MEMBER(kvm_regs, r15),    MEMBER(kvm_regs, rip),
           MEMBER(kvm_regs, rflags),
       }},
      {"kvm_sync_regs",
       {SIZE(kvm_sync_regs), MEMBER(kvm_sync_regs, regs),
        MEMBER(kvm_sync_regs, sregs)}},
      {"kvm_segment",
       {
           SIZE(kvm_segment),
           MEMBER(kvm_segment, base),
           MEMBER(kvm_segment, limit),
           MEMBER(kvm_segment, selector),
           MEMBER(kvm_segment, type),
           MEMBER(kvm_segment, present),
           MEMBER(kvm_segment, dpl),
           MEMBER(kvm_segment, db),
           MEMBER(kvm_segment, s),
           MEMBER(kvm_segment, l),
           MEMBER(kvm_segment, g),
           MEMBER(kvm_segment, avl),
           MEMBER(kvm_segment, unusable),
       }},
      {"kvm_dtable",
       {SIZE(kvm_dtable), MEMBER(kvm_dtable, base), MEMBER(kvm_dtable, limit)}},
      {"kvm_sregs",
       {
           SIZE(kvm_sregs),
           MEMBER(kvm_sregs, cs),
           MEMBER(kvm_sregs, ds),
           MEMBER(kvm_sregs, es),
           MEMBER(kvm_sregs, fs),
           MEMBER(kvm_sregs, gs),
           MEMBER(kvm_sregs, ss),
           MEMBER(kvm_sregs, tr),
           MEMBER(kvm_sregs, ldt),
           MEMBER(kvm_sregs, gdt),
           MEMBER(kvm_sregs, idt),
           MEMBER(kvm_sregs, cr0),
           MEMBER(kvm_sregs, cr2),
           MEMBER(kvm_sregs, cr3),
           MEMBER(kvm_sregs, cr4),
           MEMBER(kvm_sregs, cr8),
           MEMBER(kvm_sregs, efer),
           MEMBER(kvm_sregs, apic_base),
           MEMBER(kvm_sregs, interrupt_bitmap),
       }},
      {"kvm_sregs2", {SIZE(kvm_sregs2), MEMBER(kvm_sregs2, cr4)}},
      {"kvm_fpu",
       {SIZE(kvm_fpu), MEMBER(kvm_fpu, fpr), MEMBER(kvm_fpu, fcw),
        MEMBER(kvm_fpu, fsw), MEMBER(kvm_fpu, ftwx),
        MEMBER(kvm_fpu, last_opcode), MEMBER(kvm_fpu, last_ip),
        MEMBER(kvm_fpu, last_dp), MEMBER(kvm_fpu, xmm),
        MEMBER(kvm_fpu, mxcsr)}},
      {"kvm_xcrs",
       {SIZE(kvm_xcrs), MEMBER(kvm_xcrs, nr_xcrs), MEMBER(kvm_xcrs, flags),
        MEMBER(kvm_xcrs, xcrs)}},
      {"kvm_xcr",
       {SIZE(kvm_xcr), MEMBER(kvm_xcr, xcr), MEMBER(kvm_xcr, value)}},
      {"kvm_lapic_state", {SIZE(kvm_lapic_state)}},
      {"kvm_vcpu_events", {SIZE(kvm_vcpu_events)}},
      {"kvm_debugregs",
       {SIZE(kvm_debugregs), MEMBER(kvm_debugregs, db),
        MEMBER(kvm_debugregs, dr6), MEMBER(kvm_debugregs, dr7),
        MEMBER(kvm_debugregs, flags)}},
      {"kvm_guest_debug",
       {SIZE(kvm_guest_debug),
        MEMBER(kvm_guest_debug, control),
        {"debugreg", offsetof(kvm_guest_debug, arch.debugreg)}}},
      {"kvm_translation",
       {SIZE(kvm_translation), MEMBER(kvm_translation, linear_address),
        MEMBER(kvm_translation, physical_address),
        MEMBER(kvm_translation, valid), MEMBER(kvm_translation, writeable),
        MEMBER(kvm_translation, usermode)}},
      {"kvm_msr_entry",
       {SIZE(kvm_msr_entry), MEMBER(kvm_msr_entry, index),
        MEMBER(kvm_msr_entry, data)}},
      {"kvm_cpuid_entry2",
       {SIZE(kvm_cpuid_entry2), MEMBER(kvm_cpuid_entry2, function),
        MEMBER(kvm_cpuid_entry2, index), MEMBER(kvm_cpuid_entry2, flags),
        MEMBER(kvm_cpuid_entry2, eax), MEMBER(kvm_cpuid_entry2, ebx),
        MEMBER(kvm_cpuid_entry2, ecx), MEMBER(kvm_cpuid_entry2, edx)}},
      {"kvm_irq_routing_entry",
       {SIZE(kvm_irq_routing_entry),
        MEMBER(kvm_irq_routing_entry, gsi),
        MEMBER(kvm_irq_routing_entry, type),
        {"irqchip_irqchip", offsetof(kvm_irq_routing_entry, u.irqchip.irqchip)},
        {"irqchip_pin", offsetof(kvm_irq_routing_entry, u.irqchip.pin)},
        {"msi_address_lo", offsetof(kvm_irq_routing_entry, u.msi.address_lo)},
        {"msi_address_hi", offsetof(kvm_irq_routing_entry, u.msi.address_hi)},
        {"msi_data", offsetof(kvm_irq_routing_entry, u.msi.data)}}},
      {"kvm_clock_data",
       {SIZE(kvm_clock_data), MEMBER(kvm_clock_data, clock),
        MEMBER(kvm_clock_data, flags)}},
      {"kvm_irqchip", {SIZE(kvm_irqchip), MEMBER(kvm_irqchip, chip_id)}},
      {"kvm_pit_state2", {SIZE(kvm_pit_state2)}},
      {"kvm_stats_header",
       {SIZE(kvm_stats_header), MEMBER(kvm_stats_header, flags),
        MEMBER(kvm_stats_header, name_size), MEMBER(kvm_stats_header, num_desc),
        MEMBER(kvm_stats_header, id_offset),
        MEMBER(kvm_stats_header, desc_offset),
        MEMBER(kvm_stats_header, data_offset)}},
      {"kvm_stats_desc",
       {SIZE(kvm_stats_desc), MEMBER(kvm_stats_desc, flags),
        MEMBER(kvm_stats_desc, exponent), MEMBER(kvm_stats_desc, size),
        MEMBER(kvm_stats_desc, offset), MEMBER(kvm_stats_desc, name)}},
  };
  for (const Struct& each : structs) {
    all.Set(each.name, ToObject(env, each.members));
  }
  return all;
}

Napi::Object KvmConstants(Napi::Env env) {
  return ToObject(
      env, {
               CONSTANT(KVM_API_VERSION),
               CONSTANT(KVM_EXIT_UNKNOWN),
               CONSTANT(KVM_EXIT_EXCEPTION),
               CONSTANT(KVM_EXIT_IO),
               CONSTANT(KVM_EXIT_HYPERCALL),
               CONSTANT(KVM_EXIT_DEBUG),
               CONSTANT(KVM_EXIT_HLT),
               CONSTANT(KVM_EXIT_MMIO),
               CONSTANT(KVM_EXIT_IRQ_WINDOW_OPEN),
               CONSTANT(KVM_EXIT_SHUTDOWN),
               CONSTANT(KVM_EXIT_FAIL_ENTRY),
               CONSTANT(KVM_EXIT_INTR),
               CONSTANT(KVM_EXIT_SET_TPR),
               CONSTANT(KVM_EXIT_TPR_ACCESS),
               CONSTANT(KVM_EXIT_NMI),
               CONSTANT(KVM_EXIT_INTERNAL_ERROR),
               CONSTANT(KVM_EXIT_SYSTEM_EVENT),
               CONSTANT(KVM_EXIT_IOAPIC_EOI),
               CONSTANT(KVM_EXIT_HYPERV),
               CONSTANT(KVM_EXIT_X86_RDMSR),
               CONSTANT(KVM_EXIT_X86_WRMSR),
               CONSTANT(KVM_EXIT_DIRTY_RING_FULL),
               CONSTANT(KVM_EXIT_X86_BUS_LOCK),
               CONSTANT(KVM_EXIT_IO_IN),
               CONSTANT(KVM_EXIT_IO_OUT),
               CONSTANT(KVM_INTERNAL_ERROR_EMULATION),
               CONSTANT(KVM_INTERNAL_ERROR_SIMUL_EX),
               CONSTANT(KVM_INTERNAL_ERROR_DELIVERY_EV),
               CONSTANT(KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON),
               CONSTANT(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES),
               CONSTANT(KVM_SYSTEM_EVENT_SHUTDOWN),
               CONSTANT(KVM_SYSTEM_EVENT_RESET),
               CONSTANT(KVM_SYSTEM_EVENT_CRASH),
               CONSTANT(KVM_MEM_LOG_DIRTY_PAGES),
               CONSTANT(KVM_MEM_READONLY),
               CONSTANT(KVM_MP_STATE_RUNNABLE),
               CONSTANT(KVM_MP_STATE_UNINITIALIZED),
               CONSTANT(KVM_MP_STATE_INIT_RECEIVED),
               CONSTANT(KVM_MP_STATE_HALTED),
               CONSTANT(KVM_MP_STATE_SIPI_RECEIVED),
               CONSTANT(KVM_IRQFD_FLAG_DEASSIGN),
               CONSTANT(KVM_IRQFD_FLAG_RESAMPLE),
               CONSTANT(KVM_IOEVENTFD_FLAG_DATAMATCH),
               CONSTANT(KVM_IOEVENTFD_FLAG_PIO),
               CONSTANT(KVM_IOEVENTFD_FLAG_DEASSIGN),
               CONSTANT(KVM_IRQ_ROUTING_IRQCHIP),
               CONSTANT(KVM_IRQ_ROUTING_MSI),
               CONSTANT(KVM_IRQCHIP_PIC_MASTER),
               CONSTANT(KVM_IRQCHIP_PIC_SLAVE),
               CONSTANT(KVM_IRQCHIP_IOAPIC),
               CONSTANT(KVM_PIT_SPEAKER_DUMMY),
               CONSTANT(KVM_SYNC_X86_REGS),
               CONSTANT(KVM_SYNC_X86_SREGS),
               CONSTANT(KVM_GUESTDBG_ENABLE),
               CONSTANT(KVM_GUESTDBG_SINGLESTEP),
               CONSTANT(KVM_GUESTDBG_USE_SW_BP),
               CONSTANT(KVM_GUESTDBG_USE_HW_BP),
               CONSTANT(KVM_GUESTDBG_INJECT_DB),
               CONSTANT(KVM_GUESTDBG_INJECT_BP),
               CONSTANT(KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
               CONSTANT(KVM_STATS_TYPE_CUMULATIVE),
               CONSTANT(KVM_STATS_TYPE_INSTANT),
               CONSTANT(KVM_STATS_TYPE_PEAK),
               CONSTANT(KVM_STATS_TYPE_LINEAR_HIST),
               CONSTANT(KVM_STATS_TYPE_LOG_HIST),
               CONSTANT(KVM_CAP_IRQCHIP),
               CONSTANT(KVM_CAP_HLT),
               CONSTANT(KVM_CAP_USER_MEMORY),
               CONSTANT(KVM_CAP_SET_TSS_ADDR),
               CONSTANT(KVM_CAP_EXT_CPUID),
               CONSTANT(KVM_CAP_NR_VCPUS),
               CONSTANT(KVM_CAP_NR_MEMSLOTS),
               CONSTANT(KVM_CAP_MP_STATE),
               CONSTANT(KVM_CAP_SYNC_MMU),
               CONSTANT(KVM_CAP_DESTROY_MEMORY_REGION_WORKS),
               CONSTANT(KVM_CAP_IRQ_ROUTING),
               CONSTANT(KVM_CAP_USER_NMI),
               CONSTANT(KVM_CAP_SET_GUEST_DEBUG),
               CONSTANT(KVM_CAP_IRQFD),
               CONSTANT(KVM_CAP_PIT2),
               CONSTANT(KVM_CAP_PIT_STATE2),
               CONSTANT(KVM_CAP_IOEVENTFD),
               CONSTANT(KVM_CAP_SET_IDENTITY_MAP_ADDR),
               CONSTANT(KVM_CAP_ADJUST_CLOCK),
               CONSTANT(KVM_CAP_INTERNAL_ERROR_DATA),
               CONSTANT(KVM_CAP_VCPU_EVENTS),
               CONSTANT(KVM_CAP_DEBUGREGS),
               CONSTANT(KVM_CAP_XSAVE),
               CONSTANT(KVM_CAP_XCRS),
               CONSTANT(KVM_CAP_MAX_VCPUS),
               CONSTANT(KVM_CAP_TSC_CONTROL),
               CONSTANT(KVM_CAP_GET_TSC_KHZ),
               CONSTANT(KVM_CAP_TSC_DEADLINE_TIMER),
               CONSTANT(KVM_CAP_KVMCLOCK_CTRL),
               CONSTANT(KVM_CAP_SIGNAL_MSI),
               CONSTANT(KVM_CAP_READONLY_MEM),
               CONSTANT(KVM_CAP_IRQFD_RESAMPLE),
               CONSTANT(KVM_CAP_EXT_EMUL_CPUID),
               CONSTANT(KVM_CAP_IOEVENTFD_NO_LENGTH),
               CONSTANT(KVM_CAP_CHECK_EXTENSION_VM),
               CONSTANT(KVM_CAP_SPLIT_IRQCHIP),
               CONSTANT(KVM_CAP_IOEVENTFD_ANY_LENGTH),
               CONSTANT(KVM_CAP_MAX_VCPU_ID),
               CONSTANT(KVM_CAP_X2APIC_API),
               CONSTANT(KVM_CAP_IMMEDIATE_EXIT),
               CONSTANT(KVM_CAP_GET_MSR_FEATURES),
               CONSTANT(KVM_CAP_X86_DISABLE_EXITS),
               CONSTANT(KVM_CAP_EXCEPTION_PAYLOAD),
               CONSTANT(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2),
               CONSTANT(KVM_CAP_X86_USER_SPACE_MSR),
               CONSTANT(KVM_CAP_SYNC_REGS),
               CONSTANT(KVM_CAP_COALESCED_MMIO),
               CONSTANT(KVM_CAP_BINARY_STATS_FD),
               CONSTANT(KVM_CAP_SREGS2),
               CONSTANT(KVM_CAP_EXIT_ON_EMULATION_FAILURE),
           });
}

}  // namespace vmexit
