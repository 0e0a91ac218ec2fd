// Events, and waiting for them: eventfd and epoll.

#ifndef VMEXIT_NATIVE_EVENT_IO_H_
#define VMEXIT_NATIVE_EVENT_IO_H_

#include <napi.h>

#include "fd.h"
#include "handle.h"

namespace vmexit {

struct EventFdState {
  Fd fd;
};

class EventFd : public Handle<EventFd, EventFdState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740005,
                                             0x4576656e74466400};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Create(const Napi::CallbackInfo& info);
  Napi::Value Signal(const Napi::CallbackInfo& info);
  Napi::Value Take(const Napi::CallbackInfo& info);
};

struct EpollState {
  Fd fd;
};

class Epoll : public Handle<Epoll, EpollState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740006,
                                             0x45706f6c6c000000};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Create(const Napi::CallbackInfo& info);
  Napi::Value Add(const Napi::CallbackInfo& info);
  Napi::Value Remove(const Napi::CallbackInfo& info);
  Napi::Value Wait(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_EVENT_IO_H_
