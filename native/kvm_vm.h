// The KVM VM descriptor.

#ifndef VMEXIT_NATIVE_KVM_VM_H_
#define VMEXIT_NATIVE_KVM_VM_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "fd.h"
#include "guest_ram.h"
#include "handle.h"

namespace vmexit {

// Shared by all handles of a VM and by its vCPUs: as long as one of them can
// enter the guest, the memory that the guest sees stays mapped.
struct VmState {
  // Memory of one slot.
  struct Slot {
    std::shared_ptr<RamState> ram;
    uint64_t size;  // bytes
  };

  std::mutex mutex;  // guards slots and stats; held during slot ioctls
  std::unordered_map<uint32_t, Slot> slots;
  Fd stats;
  Fd fd;  // after slots: closed before their memory is unmapped
  size_t run_page_size = 0;
};

class KvmVm : public Handle<KvmVm, VmState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740003,
                                             0x4b766d566d0000};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value CheckExtension(const Napi::CallbackInfo& info);
  Napi::Value EnableCap(const Napi::CallbackInfo& info);
  Napi::Value SetTssAddr(const Napi::CallbackInfo& info);
  Napi::Value SetIdentityMapAddr(const Napi::CallbackInfo& info);
  Napi::Value SetUserMemoryRegion(const Napi::CallbackInfo& info);
  Napi::Value GetDirtyLog(const Napi::CallbackInfo& info);
  Napi::Value ClearDirtyLog(const Napi::CallbackInfo& info);
  Napi::Value CreateIrqchip(const Napi::CallbackInfo& info);
  Napi::Value CreatePit2(const Napi::CallbackInfo& info);
  Napi::Value IrqLine(const Napi::CallbackInfo& info);
  Napi::Value PulseIrqLine(const Napi::CallbackInfo& info);
  Napi::Value Irqfd(const Napi::CallbackInfo& info);
  Napi::Value Ioeventfd(const Napi::CallbackInfo& info);
  Napi::Value SetGsiRouting(const Napi::CallbackInfo& info);
  Napi::Value SignalMsi(const Napi::CallbackInfo& info);
  template <unsigned long kRequest, typename Struct>
  Napi::Value StructIoctl(const Napi::CallbackInfo& info);
  Napi::Value ReadStats(const Napi::CallbackInfo& info);
  Napi::Value CreateVcpu(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_KVM_VM_H_
