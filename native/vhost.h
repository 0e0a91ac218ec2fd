// Queues of virtio that the host's kernel serves: /dev/vhost-net and
// /dev/vhost-vsock.

#ifndef VMEXIT_NATIVE_VHOST_H_
#define VMEXIT_NATIVE_VHOST_H_

#include <napi.h>

#include <memory>
#include <mutex>

#include "fd.h"
#include "guest_ram.h"
#include "handle.h"

namespace vmexit {

struct VhostState {
  Fd fd;  // declared first: closed after the kernel can no longer use `ram`
  std::mutex mutex;
  // What the kernel reads and writes: it stays mapped as long as it may.
  std::shared_ptr<RamState> ram;

  ~VhostState() { fd.Reset(); }
};

class Vhost : public Handle<Vhost, VhostState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d65786974000c,
                                             0x56686f7374000000};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Open(const Napi::CallbackInfo& info);
  Napi::Value Adopt(const Napi::CallbackInfo& info);
  Napi::Value SetOwner(const Napi::CallbackInfo& info);
  Napi::Value Features(const Napi::CallbackInfo& info);
  Napi::Value SetFeatures(const Napi::CallbackInfo& info);
  Napi::Value SetMemory(const Napi::CallbackInfo& info);
  Napi::Value SetRing(const Napi::CallbackInfo& info);
  Napi::Value SetEvents(const Napi::CallbackInfo& info);
  Napi::Value RingBase(const Napi::CallbackInfo& info);
  Napi::Value SetNetBackend(const Napi::CallbackInfo& info);
  Napi::Value SetGuestCid(const Napi::CallbackInfo& info);
  Napi::Value SetRunning(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_VHOST_H_
