// Guest RAM: one memfd, or anonymous memory, mapped once in the process.
//
// Source: memfd_create(2), mmap(2), madvise(2), fallocate(2), mincore(2).
//
// The mapping starts on a 2 MiB boundary and asks for transparent huge pages:
// with 4 KiB pages, a boot has some fifty times as many nested page faults. A
// page is allocated at its first access. A setting of the host says whether
// memfd or anonymous memory gets huge pages
// (/sys/kernel/mm/transparent_hugepage/{shmem_,}enabled).

#include "guest_ram.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace vmexit {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
// The limit of an x86-64 process.
constexpr uint64_t kMaxSize = uint64_t{1} << 46;
// What V8 accepts for one ArrayBuffer on the oldest Node that we support.
constexpr uint64_t kMaxView = (uint64_t{1} << 32) - 1;

// A sealed memfd: nobody can truncate it, which would turn an access by us or
// the guest into SIGBUS.
int64_t OpenMemfd(uint64_t size, bool huge, Fd* out) {
  const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING |
                             (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0u);
  Fd fd(::memfd_create("guest-ram", flags));
  if (!fd.valid()) return -errno;
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) return -errno;
  if (::fcntl(fd.get(), F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
    return -errno;
  }
  *out = std::move(fd);
  return 0;
}

// Maps on a 2 MiB boundary: reserves more address space than needed, maps
// inside of it and unmaps the edges.
int64_t MapAligned(uint64_t size, int flags, int fd, Mapping* out) {
  const uint64_t reserved = size + kHugePage;
  void* const area = ::mmap(nullptr, reserved, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return -errno;
  uint8_t* const start = static_cast<uint8_t*>(area);
  const uint64_t before =
      (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
  uint8_t* const aligned = start + before;
  if (::mmap(aligned, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) ==
      MAP_FAILED) {
    const int error = errno;
    ::munmap(area, reserved);
    return -error;
  }
  if (before > 0) ::munmap(start, before);
  ::munmap(aligned + size, reserved - before - size);
  *out = Mapping(aligned, size);
  return 0;
}

}  // namespace

Napi::Function GuestRam::Define(Napi::Env env) {
  return Handle::Define(
      env, "GuestRam",
      {
          InstanceMethod<&GuestRam::Create>("create"),
          InstanceMethod<&GuestRam::Size>("size"),
          InstanceMethod<&GuestRam::View>("view"),
          InstanceMethod<&GuestRam::Discard>("discard"),
          InstanceMethod<&GuestRam::HostAddress>("hostAddress"),
          InstanceMethod<&GuestRam::Resident>("resident"),
      });
}

// create(size, flags). The size is a multiple of 4096 bytes, with kHugeTlb of
// 2 MiB.
Napi::Value GuestRam::Create(const Napi::CallbackInfo& info) {
  uint64_t size = 0;
  uint32_t flags = 0;
  if (!ReadUint64(info, 0, kMaxSize, &size) || !ReadUint32(info, 1, &flags)) {
    return Result(info, -EINVAL);
  }
  if (flags & ~(kHugeTlb | kAnonymous)) return Result(info, -EINVAL);
  if (state_) return Result(info, -EBUSY);
  const bool huge = flags & kHugeTlb;
  const bool anonymous = flags & kAnonymous;
  if (size == 0 || size % (huge ? kHugePage : kPage) != 0) {
    return Result(info, -EINVAL);
  }

  auto state = std::make_shared<RamState>();
  // Pages of the huge page pool are reserved at once, because a missing page
  // would be SIGBUS later.
  int map_flags = huge ? 0 : MAP_NORESERVE;
  if (anonymous) {
    map_flags |= MAP_PRIVATE | MAP_ANONYMOUS |
                 (huge ? MAP_HUGETLB | (21 << MAP_HUGE_SHIFT) : 0);
  } else {
    map_flags |= MAP_SHARED;
    const int64_t failed = OpenMemfd(size, huge, &state->fd);
    if (failed < 0) return Result(info, failed);
  }
  const int64_t failed =
      MapAligned(size, map_flags, state->fd.get(), &state->mapping);
  if (failed < 0) return Result(info, failed);

  // Both are advice. Without huge pages there is still memory, and without
  // MADV_DONTFORK a fork only gets slower, because it copies page tables.
  if (!huge) ::madvise(state->mapping.data(), size, MADV_HUGEPAGE);
  ::madvise(state->mapping.data(), size, MADV_DONTFORK);
  state_ = std::move(state);
  return Result(info, 0);
}

// size() in bytes.
Napi::Value GuestRam::Size(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, static_cast<int64_t>(state_->mapping.size()));
}

// view(offset, length): an ArrayBuffer over the memory itself.
Napi::Value GuestRam::View(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!ReadUint64(info, 0, &offset) ||
      !ReadUint64(info, 1, kMaxView, &length) || length == 0) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  if (!state_->mapping.Contains(offset, length)) return Result(info, -EINVAL);
  return views_.Get(info, state_, state_->mapping.data() + offset, length);
}

// discard(offset, length): returns pages to the host; they read as zeroes
// from then on. Both are multiples of 4096.
Napi::Value GuestRam::Discard(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!ReadUint64(info, 0, &offset) || !ReadUint64(info, 1, &length) ||
      offset % kPage != 0 || length % kPage != 0 || length == 0) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const Mapping& mapping = state_->mapping;
  if (!mapping.Contains(offset, length)) return Result(info, -EINVAL);
  const int failed =
      state_->fd.valid()
          ? ::fallocate(state_->fd.get(),
                        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(offset), static_cast<off_t>(length))
          : ::madvise(mapping.data() + offset, length, MADV_DONTNEED);
  return Result(info, Sys(failed));
}

// hostAddress(): the address of the memory in this process.
Napi::Value GuestRam::HostAddress(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, static_cast<int64_t>(
                          reinterpret_cast<uintptr_t>(state_->mapping.data())));
}

// resident(offset, length): how many bytes of a range have memory of the host
// behind them. Both are multiples of 4096.
Napi::Value GuestRam::Resident(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!ReadUint64(info, 0, &offset) || !ReadUint64(info, 1, &length) ||
      offset % kPage != 0 || length % kPage != 0) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  if (!state_->mapping.Contains(offset, length)) return Result(info, -EINVAL);
  // One byte for each page; in pieces, so that it needs little memory.
  constexpr uint64_t kPages = 4096;
  unsigned char in_core[kPages];
  uint64_t pages = 0;
  for (uint64_t done = 0; done < length; done += kPages * kPage) {
    const uint64_t piece = std::min(kPages * kPage, length - done);
    if (::mincore(state_->mapping.data() + offset + done, piece, in_core) < 0) {
      return Result(info, -errno);
    }
    pages += std::count_if(in_core, in_core + piece / kPage,
                           [](unsigned char page) { return page & 1; });
  }
  return Result(info, static_cast<int64_t>(pages * kPage));
}

}  // namespace vmexit
