/**
 * The numbers of the KVM API on x86-64 Linux: constants, and the sizes and
 * offsets of its structs in bytes. `io_port` is the member port of the struct io.
 *
 * Source: <linux/kvm.h>, <asm/kvm.h>. Written by scripts/kvm-abi.mjs from what the
 * C++ compiler says of them (native/kvm_layout.cc); not to be edited by hand.
 */

export const KVM_API_VERSION = 12;
export const KVM_EXIT_UNKNOWN = 0;
export const KVM_EXIT_EXCEPTION = 1;
export const KVM_EXIT_IO = 2;
export const KVM_EXIT_HYPERCALL = 3;
export const KVM_EXIT_DEBUG = 4;
export const KVM_EXIT_HLT = 5;
export const KVM_EXIT_MMIO = 6;
export const KVM_EXIT_IRQ_WINDOW_OPEN = 7;
export const KVM_EXIT_SHUTDOWN = 8;
export const KVM_EXIT_FAIL_ENTRY = 9;
export const KVM_EXIT_INTR = 10;
export const KVM_EXIT_SET_TPR = 11;
export const KVM_EXIT_TPR_ACCESS = 12;
export const KVM_EXIT_NMI = 16;
export const KVM_EXIT_INTERNAL_ERROR = 17;
export const KVM_EXIT_SYSTEM_EVENT = 24;
export const KVM_EXIT_IOAPIC_EOI = 26;
export const KVM_EXIT_HYPERV = 27;
export const KVM_EXIT_X86_RDMSR = 29;
export const KVM_EXIT_X86_WRMSR = 30;
export const KVM_EXIT_DIRTY_RING_FULL = 31;
export const KVM_EXIT_X86_BUS_LOCK = 33;
export const KVM_EXIT_IO_IN = 0;
export const KVM_EXIT_IO_OUT = 1;
export const KVM_INTERNAL_ERROR_EMULATION = 1;
export const KVM_INTERNAL_ERROR_SIMUL_EX = 2;
export const KVM_INTERNAL_ERROR_DELIVERY_EV = 3;
export const KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4;
export const KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES = 1;
export const KVM_SYSTEM_EVENT_SHUTDOWN = 1;
export const KVM_SYSTEM_EVENT_RESET = 2;
export const KVM_SYSTEM_EVENT_CRASH = 3;
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;
export const KVM_MP_STATE_RUNNABLE = 0;
export const KVM_MP_STATE_UNINITIALIZED = 1;
export const KVM_MP_STATE_INIT_RECEIVED = 2;
export const KVM_MP_STATE_HALTED = 3;
export const KVM_MP_STATE_SIPI_RECEIVED = 4;
export const KVM_IRQFD_FLAG_DEASSIGN = 1;
export const KVM_IRQFD_FLAG_RESAMPLE = 2;
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
export const KVM_IOEVENTFD_FLAG_PIO = 2;
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4;
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;
export const KVM_PIT_FLAGS_HPET_LEGACY = 1;
export const KVM_PIT_SPEAKER_DUMMY = 1;
export const KVM_SYNC_X86_REGS = 1;
export const KVM_SYNC_X86_SREGS = 2;
export const KVM_GUESTDBG_ENABLE = 1;
export const KVM_GUESTDBG_SINGLESTEP = 2;
export const KVM_GUESTDBG_USE_SW_BP = 0x10000;
export const KVM_GUESTDBG_USE_HW_BP = 0x20000;
export const KVM_GUESTDBG_INJECT_DB = 0x40000;
export const KVM_GUESTDBG_INJECT_BP = 0x80000;
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;
export const KVM_STATS_TYPE_CUMULATIVE = 0;
export const KVM_STATS_TYPE_INSTANT = 1;
export const KVM_STATS_TYPE_PEAK = 2;
export const KVM_STATS_TYPE_LINEAR_HIST = 3;
export const KVM_STATS_TYPE_LOG_HIST = 4;

/** KVM_CAP_ */
export const KVM_CAP = {
  IRQCHIP: 0,
  HLT: 1,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  SYNC_MMU: 16,
  DESTROY_MEMORY_REGION_WORKS: 21,
  IRQ_ROUTING: 25,
  USER_NMI: 22,
  SET_GUEST_DEBUG: 23,
  IRQFD: 32,
  PIT2: 33,
  PIT_STATE2: 35,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  ADJUST_CLOCK: 39,
  INTERNAL_ERROR_DATA: 40,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  MAX_VCPUS: 66,
  TSC_CONTROL: 60,
  GET_TSC_KHZ: 61,
  TSC_DEADLINE_TIMER: 72,
  KVMCLOCK_CTRL: 76,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  IRQFD_RESAMPLE: 82,
  EXT_EMUL_CPUID: 95,
  IOEVENTFD_NO_LENGTH: 100,
  CHECK_EXTENSION_VM: 105,
  SPLIT_IRQCHIP: 121,
  IOEVENTFD_ANY_LENGTH: 122,
  MAX_VCPU_ID: 128,
  X2APIC_API: 129,
  IMMEDIATE_EXIT: 136,
  GET_MSR_FEATURES: 153,
  X86_DISABLE_EXITS: 143,
  EXCEPTION_PAYLOAD: 164,
  MANUAL_DIRTY_LOG_PROTECT2: 168,
  X86_USER_SPACE_MSR: 188,
  SYNC_REGS: 74,
  COALESCED_MMIO: 15,
  BINARY_STATS_FD: 203,
  SREGS2: 200,
  EXIT_ON_EMULATION_FAILURE: 204,
} as const;

/** KVM_EXIT_, by number */
export const EXIT_NAMES: Readonly<Record<number, string>> = {
  0: "UNKNOWN",
  1: "EXCEPTION",
  2: "IO",
  3: "HYPERCALL",
  4: "DEBUG",
  5: "HLT",
  6: "MMIO",
  7: "IRQ_WINDOW_OPEN",
  8: "SHUTDOWN",
  9: "FAIL_ENTRY",
  10: "INTR",
  11: "SET_TPR",
  12: "TPR_ACCESS",
  16: "NMI",
  17: "INTERNAL_ERROR",
  24: "SYSTEM_EVENT",
  26: "IOAPIC_EOI",
  27: "HYPERV",
  29: "X86_RDMSR",
  30: "X86_WRMSR",
  31: "DIRTY_RING_FULL",
  33: "X86_BUS_LOCK",
};

export const kvm_run = {
  sizeof: 2352,
  immediate_exit: 1,
  exit_reason: 8,
  flags: 14,
  kvm_valid_regs: 288,
  s: 304,
  hw_hardware_exit_reason: 32,
  fail_entry_hardware_entry_failure_reason: 32,
  fail_entry_cpu: 40,
  io_direction: 32,
  io_size: 33,
  io_port: 34,
  io_count: 36,
  io_data_offset: 40,
  debug_arch_exception: 32,
  debug_arch_pc: 40,
  debug_arch_dr6: 48,
  debug_arch_dr7: 56,
  mmio_phys_addr: 32,
  mmio_data: 40,
  mmio_len: 48,
  mmio_is_write: 52,
  internal_suberror: 32,
  internal_ndata: 36,
  internal_data: 40,
  emulation_failure_flags: 40,
  emulation_failure_insn_size: 48,
  emulation_failure_insn_bytes: 49,
  system_event_type: 32,
  eoi_vector: 32,
} as const;

export const kvm_regs = {
  sizeof: 144,
  rax: 0,
  rbx: 8,
  rcx: 16,
  rdx: 24,
  rsi: 32,
  rdi: 40,
  rsp: 48,
  rbp: 56,
  r8: 64,
  r9: 72,
  r10: 80,
  r11: 88,
  r12: 96,
  r13: 104,
  r14: 112,
  r15: 120,
  rip: 128,
  rflags: 136,
} as const;

export const kvm_sync_regs = {
  sizeof: 520,
  regs: 0,
  sregs: 144,
} as const;

export const kvm_segment = {
  sizeof: 24,
  base: 0,
  limit: 8,
  selector: 12,
  type: 14,
  present: 15,
  dpl: 16,
  db: 17,
  s: 18,
  l: 19,
  g: 20,
  avl: 21,
  unusable: 22,
} as const;

export const kvm_dtable = {
  sizeof: 16,
  base: 0,
  limit: 8,
} as const;

export const kvm_sregs = {
  sizeof: 312,
  cs: 0,
  ds: 24,
  es: 48,
  fs: 72,
  gs: 96,
  ss: 120,
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
  apic_base: 272,
  interrupt_bitmap: 280,
} as const;

export const kvm_sregs2 = {
  sizeof: 320,
  cr4: 248,
} as const;

export const kvm_fpu = {
  sizeof: 416,
  fpr: 0,
  fcw: 128,
  fsw: 130,
  ftwx: 132,
  last_opcode: 134,
  last_ip: 136,
  last_dp: 144,
  xmm: 152,
  mxcsr: 408,
} as const;

export const kvm_xcrs = {
  sizeof: 392,
  nr_xcrs: 0,
  flags: 4,
  xcrs: 8,
} as const;

export const kvm_xcr = {
  sizeof: 16,
  xcr: 0,
  value: 8,
} as const;

export const kvm_lapic_state = {
  sizeof: 1024,
} as const;

export const kvm_vcpu_events = {
  sizeof: 64,
} as const;

export const kvm_debugregs = {
  sizeof: 128,
  db: 0,
  dr6: 32,
  dr7: 40,
  flags: 48,
} as const;

export const kvm_guest_debug = {
  sizeof: 72,
  control: 0,
  debugreg: 8,
} as const;

export const kvm_translation = {
  sizeof: 24,
  linear_address: 0,
  physical_address: 8,
  valid: 16,
  writeable: 17,
  usermode: 18,
} as const;

export const kvm_msr_entry = {
  sizeof: 16,
  index: 0,
  data: 8,
} as const;

export const kvm_cpuid_entry2 = {
  sizeof: 40,
  function: 0,
  index: 4,
  flags: 8,
  eax: 12,
  ebx: 16,
  ecx: 20,
  edx: 24,
} as const;

export const kvm_irq_routing_entry = {
  sizeof: 48,
  gsi: 0,
  type: 4,
  irqchip_irqchip: 16,
  irqchip_pin: 20,
  msi_address_lo: 16,
  msi_address_hi: 20,
  msi_data: 24,
} as const;

export const kvm_clock_data = {
  sizeof: 48,
  clock: 0,
  flags: 8,
} as const;

export const kvm_irqchip = {
  sizeof: 520,
  chip_id: 0,
  chip: 8,
} as const;

export const kvm_pic_state = {
  sizeof: 16,
  imr: 2,
  irq_base: 5,
} as const;

export const kvm_pit_state2 = {
  sizeof: 112,
  flags: 72,
} as const;

export const kvm_stats_header = {
  sizeof: 24,
  flags: 0,
  name_size: 4,
  num_desc: 8,
  id_offset: 12,
  desc_offset: 16,
  data_offset: 20,
} as const;

export const kvm_stats_desc = {
  sizeof: 16,
  flags: 0,
  exponent: 4,
  size: 6,
  offset: 8,
  name: 16,
} as const;
