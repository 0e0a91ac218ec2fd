// KVM vCPU: registers and all other state besides kvm_run.
//
// Source: Linux Documentation/virt/kvm/api.rst, section 4, "Type: vcpu ioctl".
// Structs are passed as bytes; src/kvm/registers.ts knows their fields. Each
// method returns -EBUSY while another thread uses the vCPU.

#include <sys/ioctl.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "counted.h"
#include "kvm_api.h"
#include "kvm_stats.h"
#include "kvm_vcpu.h"

namespace vmexit {
namespace {

constexpr size_t kMaxCpuidEntries = 256;
constexpr size_t kMaxMsrs = 4096;

// Bytes of the XSAVE area: more than a page after the process has requested AMX
// from the kernel, which then reads and writes all of them.
size_t XsaveBytes(const VcpuState& state) {
  const int size =
      ::ioctl(state.vm->fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  return std::max<size_t>(sizeof(kvm_xsave), size > 0 ? size : 0);
}

}  // namespace

void KvmVcpu::AddStateMethods(Methods* methods) {
  const Methods more = {
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_REGS, kvm_regs>>("getRegs"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_REGS, kvm_regs>>("setRegs"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_SREGS, kvm_sregs>>(
          "getSregs"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_SREGS, kvm_sregs>>(
          "setSregs"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_SREGS2, kvm_sregs2>>(
          "getSregs2"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_SREGS2, kvm_sregs2>>(
          "setSregs2"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_FPU, kvm_fpu>>("getFpu"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_FPU, kvm_fpu>>("setFpu"),
      InstanceMethod<&KvmVcpu::XsaveSize>("xsaveSize"),
      InstanceMethod<&KvmVcpu::GetXsave>("getXsave"),
      InstanceMethod<&KvmVcpu::SetXsave>("setXsave"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_XCRS, kvm_xcrs>>("getXcrs"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_XCRS, kvm_xcrs>>("setXcrs"),
      InstanceMethod<&KvmVcpu::Msrs<KVM_GET_MSRS>>("getMsrs"),
      InstanceMethod<&KvmVcpu::Msrs<KVM_SET_MSRS>>("setMsrs"),
      InstanceMethod<&KvmVcpu::SetCpuid2>("setCpuid2"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_LAPIC, kvm_lapic_state>>(
          "getLapic"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_LAPIC, kvm_lapic_state>>(
          "setLapic"),
      InstanceMethod<&KvmVcpu::GetMpState>("getMpState"),
      InstanceMethod<&KvmVcpu::SetMpState>("setMpState"),
      InstanceMethod<
          &KvmVcpu::StructIoctl<KVM_GET_VCPU_EVENTS, kvm_vcpu_events>>(
          "getVcpuEvents"),
      InstanceMethod<
          &KvmVcpu::StructIoctl<KVM_SET_VCPU_EVENTS, kvm_vcpu_events>>(
          "setVcpuEvents"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_GET_DEBUGREGS, kvm_debugregs>>(
          "getDebugregs"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_SET_DEBUGREGS, kvm_debugregs>>(
          "setDebugregs"),
      InstanceMethod<
          &KvmVcpu::StructIoctl<KVM_SET_GUEST_DEBUG, kvm_guest_debug>>(
          "setGuestDebug"),
      InstanceMethod<&KvmVcpu::StructIoctl<KVM_TRANSLATE, kvm_translation>>(
          "translate"),
      InstanceMethod<&KvmVcpu::PlainIoctl<KVM_NMI>>("nmi"),
      InstanceMethod<&KvmVcpu::Interrupt>("interrupt"),
      InstanceMethod<&KvmVcpu::PlainIoctl<KVM_GET_TSC_KHZ>>("getTscKhz"),
      InstanceMethod<&KvmVcpu::EnableCap>("enableCap"),
      InstanceMethod<&KvmVcpu::SetTscKhz>("setTscKhz"),
      InstanceMethod<&KvmVcpu::PlainIoctl<KVM_KVMCLOCK_CTRL>>("kvmclockCtrl"),
      InstanceMethod<&KvmVcpu::ReadStats>("readStats"),
  };
  methods->insert(methods->end(), more.begin(), more.end());
}

// An ioctl without an argument.
template <unsigned long kRequest>
Napi::Value KvmVcpu::PlainIoctl(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info, Sys(::ioctl(state_->fd.get(), kRequest, 0)));
}

// An ioctl that reads or writes one struct of fixed size.
template <unsigned long kRequest, typename Struct>
Napi::Value KvmVcpu::StructIoctl(const Napi::CallbackInfo& info) {
  uint8_t* bytes = nullptr;
  if (!ReadStruct(info, 0, sizeof(Struct), &bytes)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info, Sys(::ioctl(state_->fd.get(), kRequest, bytes)));
}

// getMsrs(entries), setMsrs(entries): kvm_msr_entry structs. Stops at the first
// MSR that KVM refuses; returns how many it accepted.
template <unsigned long kRequest>
Napi::Value KvmVcpu::Msrs(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  if (!ReadBytes(info, 0, &bytes)) return Result(info, -EINVAL);
  const size_t count = bytes.length / sizeof(kvm_msr_entry);
  if (count > kMaxMsrs) return Result(info, -E2BIG);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  Counted<kvm_msrs, kvm_msr_entry> list(count);
  list.header()->nmsrs = static_cast<uint32_t>(count);
  list.CopyIn(bytes.data, count);
  const int done = ::ioctl(state_->fd.get(), kRequest, list.header());
  if (done < 0) return Result(info, -errno);
  if (kRequest == KVM_GET_MSRS) {
    list.CopyOut(bytes.data, std::min<size_t>(done, count));
  }
  return Result(info, done);
}

// setCpuid2(entries): kvm_cpuid_entry2 structs, 10 words each.
Napi::Value KvmVcpu::SetCpuid2(const Napi::CallbackInfo& info) {
  Span<uint32_t> words;
  if (!ReadWords(info, 0, &words)) return Result(info, -EINVAL);
  const size_t count = words.bytes() / sizeof(kvm_cpuid_entry2);
  if (words.bytes() % sizeof(kvm_cpuid_entry2) != 0) {
    return Result(info, -EINVAL);
  }
  if (count > kMaxCpuidEntries) return Result(info, -E2BIG);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  Counted<kvm_cpuid2, kvm_cpuid_entry2> list(count);
  list.header()->nent = static_cast<uint32_t>(count);
  list.CopyIn(words.data, count);
  return Result(info,
                Sys(::ioctl(state_->fd.get(), KVM_SET_CPUID2, list.header())));
}

// xsaveSize(): bytes that getXsave and setXsave need.
Napi::Value KvmVcpu::XsaveSize(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, static_cast<int64_t>(XsaveBytes(*state_)));
}

// getXsave(bytes).
Napi::Value KvmVcpu::GetXsave(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  if (!ReadBytes(info, 0, &bytes)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const size_t size = XsaveBytes(*state_);
  if (bytes.length < size) return Result(info, -EINVAL);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  const unsigned long request =
      size > sizeof(kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
  return Result(info, Sys(::ioctl(state_->fd.get(), request, bytes.data)));
}

// setXsave(bytes).
Napi::Value KvmVcpu::SetXsave(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  if (!ReadBytes(info, 0, &bytes)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  if (bytes.length < XsaveBytes(*state_)) return Result(info, -EINVAL);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info,
                Sys(::ioctl(state_->fd.get(), KVM_SET_XSAVE, bytes.data)));
}

// getMpState(): KVM_MP_STATE_*.
Napi::Value KvmVcpu::GetMpState(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  kvm_mp_state state = {};
  if (::ioctl(state_->fd.get(), KVM_GET_MP_STATE, &state) < 0) {
    return Result(info, -errno);
  }
  return Result(info, state.mp_state);
}

// setMpState(state).
Napi::Value KvmVcpu::SetMpState(const Napi::CallbackInfo& info) {
  kvm_mp_state state = {};
  if (!ReadUint32(info, 0, &state.mp_state)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_SET_MP_STATE, &state)));
}

// interrupt(vector): for a VM without an interrupt controller in the kernel.
Napi::Value KvmVcpu::Interrupt(const Napi::CallbackInfo& info) {
  kvm_interrupt interrupt = {};
  if (!ReadUint32(info, 0, &interrupt.irq)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info,
                Sys(::ioctl(state_->fd.get(), KVM_INTERRUPT, &interrupt)));
}

// enableCap(capability). Without arguments: those of some capabilities are
// addresses in this process.
Napi::Value KvmVcpu::EnableCap(const Napi::CallbackInfo& info) {
  kvm_enable_cap cap = {};
  if (!ReadUint32(info, 0, &cap.cap)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_ENABLE_CAP, &cap)));
}

// setTscKhz(khz).
Napi::Value KvmVcpu::SetTscKhz(const Napi::CallbackInfo& info) {
  uint32_t khz = 0;
  if (!ReadUint32(info, 0, &khz)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_SET_TSC_KHZ,
                                  static_cast<unsigned long>(khz))));
}

// readStats(offset, out): bytes of the binary statistics. After the first read,
// also while the vCPU runs: only opening them uses the vCPU.
Napi::Value KvmVcpu::ReadStats(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  Span<uint8_t> out;
  if (!ReadUint64(info, 0, &offset) || !ReadBytes(info, 1, &out)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->vm->mutex);
  if (!state_->stats.valid()) {
    const VcpuClaim claim(state_.get());
    if (!claim) return Result(info, -EBUSY);
    return Result(
        info, ReadBinaryStats(state_->fd.get(), &state_->stats, offset, out));
  }
  return Result(info,
                ReadBinaryStats(state_->fd.get(), &state_->stats, offset, out));
}

}  // namespace vmexit
