// Descriptors that carry frames: a tap interface, or a socket that another
// program passed.

#ifndef VMEXIT_NATIVE_NET_IO_H_
#define VMEXIT_NATIVE_NET_IO_H_

#include <napi.h>

#include "fd.h"
#include "handle.h"

namespace vmexit {

struct NetState {
  Fd fd;
};

class NetIo : public Handle<NetIo, NetState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740009,
                                             0x4e6574496f000000};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value OpenTap(const Napi::CallbackInfo& info);
  Napi::Value Adopt(const Napi::CallbackInfo& info);
  Napi::Value TapFlags(const Napi::CallbackInfo& info);
  Napi::Value SetHeaderSize(const Napi::CallbackInfo& info);
  Napi::Value SetOffload(const Napi::CallbackInfo& info);
  Napi::Value SetSendBuffer(const Napi::CallbackInfo& info);
  Napi::Value SetQueue(const Napi::CallbackInfo& info);
  Napi::Value Receive(const Napi::CallbackInfo& info);
  Napi::Value Send(const Napi::CallbackInfo& info);
};

// pingSocket(family): a socket for echo requests of AF_INET or AF_INET6, a
// descriptor that the caller owns; -EACCES outside net.ipv4.ping_group_range.
Napi::Value PingSocket(const Napi::CallbackInfo& info);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_NET_IO_H_
