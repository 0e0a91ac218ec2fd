// The KVM system descriptor.

#ifndef VMEXIT_NATIVE_KVM_SYSTEM_H_
#define VMEXIT_NATIVE_KVM_SYSTEM_H_

#include <napi.h>

#include "fd.h"
#include "handle.h"

namespace vmexit {

struct SystemState {
  Fd fd;
};

class KvmSystem : public Handle<KvmSystem, SystemState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740002,
                                             0x4b766d53797374};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Open(const Napi::CallbackInfo& info);
  Napi::Value ApiVersion(const Napi::CallbackInfo& info);
  Napi::Value CheckExtension(const Napi::CallbackInfo& info);
  Napi::Value VcpuMmapSize(const Napi::CallbackInfo& info);
  Napi::Value SupportedCpuid(const Napi::CallbackInfo& info);
  template <unsigned long kRequest>
  Napi::Value MsrList(const Napi::CallbackInfo& info);
  Napi::Value FeatureMsrs(const Napi::CallbackInfo& info);
  Napi::Value CreateVm(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_KVM_SYSTEM_H_
