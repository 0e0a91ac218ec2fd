// One transfer between a file and memory, for calls that block their thread and
// for those that do not.

#ifndef VMEXIT_NATIVE_TRANSFER_H_
#define VMEXIT_NATIVE_TRANSFER_H_

#include <limits.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "args.h"

namespace vmexit {

// Parts of one transfer in one system call: the kernel's limit, and an array
// (16 KiB) that fits on any thread's stack.
inline constexpr size_t kMaxParts = IOV_MAX;

struct Transfer {
  int fd;
  bool write;
  int flags;  // RWF_*
};

// Moves all parts, and changes them meanwhile. Returns bytes moved, fewer only
// at the end of the file, or -errno.
int64_t TransferAll(const Transfer& transfer, iovec* parts, size_t count,
                    uint64_t offset);

// Moves what is possible without waiting for a device, in one system call.
// Returns bytes moved, or -errno: -EAGAIN if nothing can be moved.
int64_t TransferNow(const Transfer& transfer, const iovec* parts, size_t count,
                    uint64_t offset, bool in_memory);

// Removes `bytes` from the front of the parts. Returns how many parts are
// consumed; the next one is shortened.
size_t SkipParts(iovec* parts, size_t count, size_t bytes);

// Turns [offset, length] pairs into host addresses and adds the lengths to
// `bytes`. False if one of them is not all within the memory.
bool FillParts(const Span<uint8_t>& memory, const double* pairs, size_t count,
               iovec* parts, size_t* bytes);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_TRANSFER_H_
