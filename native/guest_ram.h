// Guest RAM: memory that a VM, its devices and JavaScript share.

#ifndef VMEXIT_NATIVE_GUEST_RAM_H_
#define VMEXIT_NATIVE_GUEST_RAM_H_

#include <napi.h>

#include "fd.h"
#include "handle.h"
#include "mapping.h"

namespace vmexit {

struct RamState {
  Fd fd;  // the memfd; none behind anonymous memory
  Mapping mapping;
};

class GuestRam : public Handle<GuestRam, RamState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740001,
                                             0x47756573742d5241};

  // Flags of create().
  static constexpr uint32_t kHugeTlb = 1;
  static constexpr uint32_t kAnonymous = 2;

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Create(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);
  Napi::Value View(const Napi::CallbackInfo& info);
  Napi::Value Discard(const Napi::CallbackInfo& info);
  Napi::Value HostAddress(const Napi::CallbackInfo& info);
  Napi::Value Resident(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_GUEST_RAM_H_
