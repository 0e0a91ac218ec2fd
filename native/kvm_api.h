// <linux/kvm.h>, corrected for C++.
//
// In a struct that ends in an array, the kernel headers of Linux 5.16 to 6.5
// have an empty struct before it, which takes no room in C and a byte in C++:
// sizes, offsets and the ioctl numbers made of them would all be wrong.

#ifndef VMEXIT_NATIVE_KVM_API_H_
#define VMEXIT_NATIVE_KVM_API_H_

#include <linux/stddef.h>

#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[0]

#include <linux/kvm.h>

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 &&
                  sizeof(kvm_msr_list) == 4 && sizeof(kvm_irq_routing) == 8 &&
                  sizeof(kvm_stats_desc) == 16 && sizeof(kvm_xsave) == 4096,
              "the kernel's headers and this compiler disagree about structs");

// Not in headers before Linux 5.17.
#ifndef KVM_CAP_XSAVE2
#define KVM_CAP_XSAVE2 208
#endif
#ifndef KVM_GET_XSAVE2
#define KVM_GET_XSAVE2 _IOR(KVMIO, 0xcf, struct kvm_xsave)
#endif
// Not in headers before Linux 5.14.
#ifndef KVM_CAP_SREGS2
#define KVM_CAP_SREGS2 200
struct kvm_sregs2 {
  kvm_segment cs, ds, es, fs, gs, ss;
  kvm_segment tr, ldt;
  kvm_dtable gdt, idt;
  __u64 cr0, cr2, cr3, cr4, cr8;
  __u64 efer;
  __u64 apic_base;
  __u64 flags;
  __u64 pdptrs[4];
};
#define KVM_GET_SREGS2 _IOR(KVMIO, 0xcc, struct kvm_sregs2)
#define KVM_SET_SREGS2 _IOW(KVMIO, 0xcd, struct kvm_sregs2)
#endif

#endif  // VMEXIT_NATIVE_KVM_API_H_
