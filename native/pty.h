// A pseudo-terminal, whose other end another program opens.

#ifndef VMEXIT_NATIVE_PTY_H_
#define VMEXIT_NATIVE_PTY_H_

#include <napi.h>

#include "fd.h"
#include "handle.h"

namespace vmexit {

struct PtyState {
  Fd master;
};

class Pty : public Handle<Pty, PtyState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740008,
                                             0x5074790000000000};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Open(const Napi::CallbackInfo& info);
  Napi::Value Connected(const Napi::CallbackInfo& info);
  Napi::Value Duplicate(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_PTY_H_
