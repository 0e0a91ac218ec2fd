// The binary statistics of a VM or a vCPU (api.rst, 4.133 KVM_GET_STATS_FD).

#ifndef VMEXIT_NATIVE_KVM_STATS_H_
#define VMEXIT_NATIVE_KVM_STATS_H_

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>

#include "args.h"
#include "fd.h"
#include "kvm_api.h"

namespace vmexit {

// Reads at `offset` of the statistics of `owner`. Opens their descriptor the
// first time and stores it in `stats`; callers hold the lock that guards it.
inline int64_t ReadBinaryStats(int owner, Fd* stats, uint64_t offset,
                               const Span<uint8_t>& out) {
  if (!stats->valid()) {
    Fd opened(::ioctl(owner, KVM_GET_STATS_FD, 0));
    if (!opened.valid()) return -errno;
    *stats = std::move(opened);
  }
  return Sys(
      ::pread(stats->get(), out.data, out.length, static_cast<off_t>(offset)));
}

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_KVM_STATS_H_
