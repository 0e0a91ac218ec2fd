// A pseudo-terminal: our end of it, and whether the other end is open.
//
// Source: pts(4), ioctl_tty(2), termios(3).

#include "pty.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <utility>

namespace vmexit {
namespace {

// Sets the other end to raw mode, until a program that opens it changes that.
// Closing it again makes Connected() false from the start: an end that was
// never open does not count as hung up.
int64_t PrepareOtherEnd(int master) {
  const Fd other(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!other.valid()) return -errno;
  termios settings;
  if (::tcgetattr(other.get(), &settings) < 0) return -errno;
  ::cfmakeraw(&settings);
  return Sys(::tcsetattr(other.get(), TCSANOW, &settings));
}

}  // namespace

Napi::Function Pty::Define(Napi::Env env) {
  return Handle::Define(env, "Pty",
                        {
                            InstanceMethod<&Pty::Open>("open"),
                            InstanceMethod<&Pty::Connected>("connected"),
                            InstanceMethod<&Pty::Duplicate>("duplicate"),
                        });
}

// open(): makes a pseudo-terminal; the result is N of /dev/pts/N.
Napi::Value Pty::Open(const Napi::CallbackInfo& info) {
  if (state_) return Result(info, -EBUSY);
  auto state = std::make_shared<PtyState>();
  state->master =
      Fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  const int master = state->master.get();
  if (!state->master.valid()) return Result(info, -errno);
  int unlock = 0;
  unsigned int number = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) < 0 ||
      ::ioctl(master, TIOCGPTN, &number) < 0) {
    return Result(info, -errno);
  }
  const int64_t failed = PrepareOtherEnd(master);
  if (failed < 0) return Result(info, failed);
  state_ = std::move(state);
  return Result(info, number);
}

// connected(): 1 while some process has the other end open, else 0.
Napi::Value Pty::Connected(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  pollfd entry = {state_->master.get(), 0, 0};
  const int64_t result = Sys(::poll(&entry, 1, 0));
  if (result < 0) return Result(info, result);
  return Result(info, entry.revents & POLLHUP ? 0 : 1);
}

// duplicate(): a descriptor of our end, which the caller has to close.
Napi::Value Pty::Duplicate(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::fcntl(state_->master.get(), F_DUPFD_CLOEXEC, 3)));
}

}  // namespace vmexit
