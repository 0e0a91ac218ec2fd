// One transfer between a file and memory, in system calls: shared by the calls
// that block their thread and by those that do not.

#ifndef VMEXIT_NATIVE_TRANSFER_H_
#define VMEXIT_NATIVE_TRANSFER_H_

#include <limits.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "args.h"

namespace vmexit {

// Parts of one transfer that go to the kernel at once: its own limit, and a
// small enough array (16 KiB) for any thread's stack.
inline constexpr size_t kMaxParts = IOV_MAX;

struct Transfer {
  int fd;
  bool write;
  int flags;  // RWF_*
};

// Moves all parts; changes them on the way. Returns bytes moved, fewer only at
// the end of the file, or -errno.
int64_t TransferAll(const Transfer& transfer, iovec* parts, size_t count,
                    uint64_t offset);

// Moves what can be moved without waiting for a device, in one system call.
// Returns bytes moved, or -errno: -EAGAIN if that is nothing.
int64_t TransferNow(const Transfer& transfer, const iovec* parts, size_t count,
                    uint64_t offset, bool in_memory);

// Takes `bytes` off the front of the parts. Returns how many parts are used up;
// the next one is shortened.
size_t SkipParts(iovec* parts, size_t count, size_t bytes);

// Turns [offset, length] pairs into host addresses and adds the lengths to
// `bytes`. False if one of them is not all within the memory.
bool FillParts(const Span<uint8_t>& memory, const double* pairs, size_t count,
               iovec* parts, size_t* bytes);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_TRANSFER_H_
