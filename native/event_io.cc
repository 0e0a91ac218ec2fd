// Events, and waiting for them.
//
// Source: eventfd(2), epoll(7). An EventFd is what KVM's ioeventfd writes and
// its irqfd reads, and how one thread wakes another that waits in an Epoll.

#include "event_io.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "net_io.h"

namespace vmexit {
namespace {

// At most as many events in one wait.
constexpr size_t kMaxEvents = 64;

// What an argument can be waited for: an EventFd, or a NetIo. -EINVAL for
// anything else, -EBADF if it is closed.
int64_t PollableFd(const Napi::CallbackInfo& info, size_t index) {
  if (EventFd* const event = ReadObject<EventFd>(info, index)) {
    return event->state() ? event->state()->fd.get() : -EBADF;
  }
  if (NetIo* const net = ReadObject<NetIo>(info, index)) {
    return net->state() ? net->state()->fd.get() : -EBADF;
  }
  return -EINVAL;
}

}  // namespace

Napi::Function EventFd::Define(Napi::Env env) {
  return Handle::Define(env, "EventFd",
                        {
                            InstanceMethod<&EventFd::Create>("create"),
                            InstanceMethod<&EventFd::Signal>("signal"),
                            InstanceMethod<&EventFd::Take>("take"),
                        });
}

Napi::Value EventFd::Create(const Napi::CallbackInfo& info) {
  if (state_) return Result(info, -EBUSY);
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.valid()) return Result(info, -errno);
  state_ = std::make_shared<EventFdState>(EventFdState{std::move(fd)});
  return Result(info, 0);
}

// signal(): adds one to the counter.
Napi::Value EventFd::Signal(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  const uint64_t one = 1;
  if (::write(state_->fd.get(), &one, sizeof(one)) < 0) {
    // A full counter is signalled anyway.
    return Result(info, errno == EAGAIN ? 0 : -errno);
  }
  return Result(info, 0);
}

// take(): the counter, which becomes 0; -EAGAIN if it is 0.
Napi::Value EventFd::Take(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  uint64_t count = 0;
  if (::read(state_->fd.get(), &count, sizeof(count)) < 0) {
    return Result(info, -errno);
  }
  return Result(info, static_cast<int64_t>(std::min(count, kMaxInteger)));
}

Napi::Function Epoll::Define(Napi::Env env) {
  return Handle::Define(env, "Epoll",
                        {
                            InstanceMethod<&Epoll::Create>("create"),
                            InstanceMethod<&Epoll::Add>("add"),
                            InstanceMethod<&Epoll::Remove>("remove"),
                            InstanceMethod<&Epoll::Wait>("wait"),
                        });
}

Napi::Value Epoll::Create(const Napi::CallbackInfo& info) {
  if (state_) return Result(info, -EBUSY);
  Fd fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!fd.valid()) return Result(info, -errno);
  state_ = std::make_shared<EpollState>(EpollState{std::move(fd)});
  return Result(info, 0);
}

// add(event, tag): wait() reports the tag if the event was signalled since the
// last report; the event need not be cleared in between. A NetIo is signalled
// when a frame comes.
Napi::Value Epoll::Add(const Napi::CallbackInfo& info) {
  const int64_t fd = PollableFd(info, 0);
  uint32_t tag = 0;
  if (fd == -EINVAL || !ReadUint32(info, 1, &tag)) {
    return Result(info, -EINVAL);
  }
  if (!state_ || fd < 0) return Result(info, -EBADF);
  epoll_event interest = {};
  interest.events = EPOLLIN | EPOLLET;
  interest.data.u32 = tag;
  return Result(info, Sys(::epoll_ctl(state_->fd.get(), EPOLL_CTL_ADD,
                                      static_cast<int>(fd), &interest)));
}

// remove(event).
Napi::Value Epoll::Remove(const Napi::CallbackInfo& info) {
  const int64_t fd = PollableFd(info, 0);
  if (fd == -EINVAL) return Result(info, -EINVAL);
  if (!state_ || fd < 0) return Result(info, -EBADF);
  return Result(info, Sys(::epoll_ctl(state_->fd.get(), EPOLL_CTL_DEL,
                                      static_cast<int>(fd), nullptr)));
}

// wait(tags, timeoutMs) blocks the calling thread until an event is signalled,
// for ever if the time is -1. Puts tags into a Uint32Array, returns how many:
// 0 after the time, -EINTR after a signal.
Napi::Value Epoll::Wait(const Napi::CallbackInfo& info) {
  Span<uint32_t> tags;
  const Napi::Value timeout = info[1];
  if (!ReadWords(info, 0, &tags) || tags.length == 0 || !timeout.IsNumber()) {
    return Result(info, -EINVAL);
  }
  int milliseconds = -1;
  const double number = timeout.As<Napi::Number>().DoubleValue();
  uint64_t integer = 0;
  if (ToInteger(number, INT32_MAX, &integer)) {
    milliseconds = static_cast<int>(integer);
  } else if (number != -1) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  epoll_event events[kMaxEvents];
  const int count = ::epoll_wait(
      state_->fd.get(), events,
      static_cast<int>(std::min(tags.length, kMaxEvents)), milliseconds);
  if (count < 0) return Result(info, -errno);
  for (int i = 0; i < count; i++) tags.data[i] = events[i].data.u32;
  return Result(info, count);
}

}  // namespace vmexit
