// An owned file descriptor.

#ifndef VMEXIT_NATIVE_FD_H_
#define VMEXIT_NATIVE_FD_H_

#include <unistd.h>

#include <utility>

namespace vmexit {

// Moving transfers the descriptor; destruction closes it.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  // No retry on EINTR: on Linux the descriptor is gone either way (close(2)).
  void Reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_FD_H_
