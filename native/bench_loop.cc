// For bench/exit only: an exit loop in C++, to compare with the loop in
// TypeScript. No part of vmexit runs a guest with this.

#include <sys/ioctl.h>

#include "kvm_api.h"
#include "kvm_vcpu.h"

namespace vmexit {

// benchRunLoop(count): runs until `count` port exits were answered, or the
// guest does anything else. Returns how many were. Reads return all ones;
// writes are added to a sum that is not used.
Napi::Value KvmVcpu::BenchRunLoop(const Napi::CallbackInfo& info) {
  uint64_t count = 0;
  if (!ReadUint64(info, 0, &count)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const VcpuClaim claim(state_.get());
  if (!claim) return Result(info, -EBUSY);

  const int fd = state_->fd.get();
  kvm_run* const run = state_->page.as<kvm_run>();
  volatile uint32_t sink = 0;
  uint64_t done = 0;
  while (done < count) {
    if (::ioctl(fd, KVM_RUN, 0) < 0) return Result(info, -errno);
    if (run->exit_reason != KVM_EXIT_IO) break;
    // The page is shared with JavaScript: read once, check, use.
    const uint64_t offset = run->io.data_offset;
    const size_t bytes = size_t{run->io.size} * run->io.count;
    if (!state_->page.Contains(offset, bytes)) return Result(info, -EFAULT);
    uint8_t* const data = state_->page.data() + offset;
    if (run->io.direction == KVM_EXIT_IO_OUT) {
      for (size_t i = 0; i < bytes; i++) sink = sink + data[i];
    } else {
      for (size_t i = 0; i < bytes; i++) data[i] = 0xff;
    }
    done++;
  }
  return Result(info, static_cast<int64_t>(done));
}

}  // namespace vmexit
