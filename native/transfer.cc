#include "transfer.h"

#include <algorithm>
#include <cerrno>

namespace vmexit {
namespace {

// One system call; may move less than asked.
ssize_t TransferSome(const Transfer& transfer, const iovec* parts, size_t count,
                     uint64_t offset) {
  const auto at = static_cast<off_t>(offset);
  const int n = static_cast<int>(count);
  const int flags = transfer.flags;
  if (transfer.write) {
    return flags == 0 ? ::pwritev(transfer.fd, parts, n, at)
                      : ::pwritev2(transfer.fd, parts, n, at, flags);
  }
  return flags == 0 ? ::preadv(transfer.fd, parts, n, at)
                    : ::preadv2(transfer.fd, parts, n, at, flags);
}

}  // namespace

int64_t TransferNow(const Transfer& transfer, const iovec* parts, size_t count,
                    uint64_t offset, bool in_memory) {
  Transfer now = transfer;
  if (!in_memory) now.flags |= RWF_NOWAIT;
  const ssize_t moved =
      TransferSome(now, parts, std::min(count, kMaxParts), offset);
  return Sys(moved);
}

size_t SkipParts(iovec* parts, size_t count, size_t bytes) {
  size_t used = 0;
  while (used < count && bytes >= parts[used].iov_len) {
    bytes -= parts[used].iov_len;
    used++;
  }
  if (used < count) {
    parts[used].iov_base = static_cast<uint8_t*>(parts[used].iov_base) + bytes;
    parts[used].iov_len -= bytes;
  }
  return used;
}

int64_t TransferAll(const Transfer& transfer, iovec* parts, size_t count,
                    uint64_t offset) {
  int64_t moved = 0;
  while (count > 0) {
    const ssize_t some = TransferSome(transfer, parts, count,
                                      offset + static_cast<uint64_t>(moved));
    if (some < 0) {
      if (errno == EINTR) continue;
      // O_DIRECT stopped at the end of a file that is not aligned there.
      if (errno == EINVAL && moved > 0) break;
      return -errno;
    }
    moved += some;
    const size_t used = SkipParts(parts, count, static_cast<size_t>(some));
    parts += used;
    count -= used;
    // Nothing was moved, although bytes are left: the end of the file.
    if (some == 0) break;
  }
  return moved;
}

bool FillParts(const Span<uint8_t>& memory, const double* pairs, size_t count,
               iovec* parts, size_t* bytes) {
  for (size_t i = 0; i < count; i++) {
    uint64_t offset = 0;
    uint64_t length = 0;
    if (!ToInteger(pairs[2 * i], kMaxInteger, &offset) ||
        !ToInteger(pairs[2 * i + 1], kMaxInteger, &length) ||
        offset > memory.length || length > memory.length - offset) {
      return false;
    }
    parts[i] = {memory.data + offset, length};
    *bytes += length;
  }
  return true;
}

}  // namespace vmexit
