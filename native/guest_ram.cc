// Guest RAM: one memfd, a file's bytes, or anonymous memory, mapped once in the
// process.
//
// Source: memfd_create(2), mmap(2), madvise(2), fallocate(2), mincore(2),
// lseek(2), Linux Documentation/admin-guide/mm/pagemap.rst.
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
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "file_io.h"

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
int64_t OpenMemfd(uint64_t size, bool huge, std::shared_ptr<Fd>* out) {
  const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING |
                             (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0u);
  Fd fd(::memfd_create("guest-ram", flags));
  if (!fd.valid()) return -errno;
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) return -errno;
  if (::fcntl(fd.get(), F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
    return -errno;
  }
  *out = std::make_shared<Fd>(std::move(fd));
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

// Both are advice. Without huge pages there is still memory, and without
// MADV_DONTFORK a fork only gets slower, because it copies page tables.
void Advise(const Mapping& mapping, bool huge_pages) {
  if (huge_pages) ::madvise(mapping.data(), mapping.size(), MADV_HUGEPAGE);
  ::madvise(mapping.data(), mapping.size(), MADV_DONTFORK);
}

// A mapping of a file, or of nothing (`file` is null), in which writes stay.
int64_t MapPrivate(uint64_t size, const std::shared_ptr<Fd>& file,
                   Mapping* out) {
  const int flags = MAP_PRIVATE | MAP_NORESERVE | (file ? 0 : MAP_ANONYMOUS);
  const int64_t failed = MapAligned(size, flags, file ? file->get() : -1, out);
  if (failed == 0) Advise(*out, !file);
  return failed;
}

// Calls `each(first, count)` for runs of pages that hold data in the file.
// What the file system does not know to be a hole is data.
template <typename Each>
int64_t EachDataRun(int fd, uint64_t first, uint64_t count, const Each& each) {
  const uint64_t end = (first + count) * kPage;
  uint64_t at = first * kPage;
  while (at < end) {
    const int64_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return 0;
    if (data < 0) {
      each(at / kPage, (end - at) / kPage);
      return 0;
    }
    const int64_t hole = ::lseek(fd, static_cast<off_t>(data), SEEK_HOLE);
    const uint64_t stop =
        hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole));
    const uint64_t from = static_cast<uint64_t>(data) / kPage;
    const uint64_t to = (stop + kPage - 1) / kPage;
    if (static_cast<uint64_t>(data) >= end) return 0;
    each(from, to - from);
    at = to * kPage;
  }
  return 0;
}

// Calls `each(page)` for the pages of a private mapping that were written:
// those that have memory, or swap space, which is not a file's.
template <typename Each>
int64_t EachWrittenPage(const Mapping& mapping, uint64_t first, uint64_t count,
                        const Each& each) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  constexpr uint64_t kOfFile = uint64_t{1} << 61;
  Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return -errno;
  constexpr uint64_t kEntries = 4096;
  uint64_t entries[kEntries];
  const uint64_t base =
      reinterpret_cast<uintptr_t>(mapping.data()) / kPage + first;
  for (uint64_t done = 0; done < count;) {
    const uint64_t piece = std::min(kEntries, count - done);
    const ssize_t got =
        ::pread(pagemap.get(), entries, piece * sizeof(uint64_t),
                static_cast<off_t>((base + done) * sizeof(uint64_t)));
    if (got < 0) return -errno;
    const uint64_t read = static_cast<uint64_t>(got) / sizeof(uint64_t);
    if (read == 0) return -EIO;
    for (uint64_t i = 0; i < read; i++) {
      if ((entries[i] & (kPresent | kSwapped)) != 0 &&
          (entries[i] & kOfFile) == 0) {
        each(first + done + i);
      }
    }
    done += read;
  }
  return 0;
}

bool IsZero(const uint8_t* page) {
  uint64_t word = 0;
  std::memcpy(&word, page, sizeof(word));
  return word == 0 &&
         std::memcmp(page, page + sizeof(word), kPage - sizeof(word)) == 0;
}

}  // namespace

Napi::Function GuestRam::Define(Napi::Env env) {
  return Handle::Define(
      env, "GuestRam",
      {
          InstanceMethod<&GuestRam::Create>("create"),
          InstanceMethod<&GuestRam::MapFile>("mapFile"),
          InstanceMethod<&GuestRam::Fork>("fork"),
          InstanceMethod<&GuestRam::Size>("size"),
          InstanceMethod<&GuestRam::View>("view"),
          InstanceMethod<&GuestRam::Discard>("discard"),
          InstanceMethod<&GuestRam::HostAddress>("hostAddress"),
          InstanceMethod<&GuestRam::Resident>("resident"),
          InstanceMethod<&GuestRam::Contents>("contents"),
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
    const int64_t failed = OpenMemfd(size, huge, &state->file);
    if (failed < 0) return Result(info, failed);
  }
  const int64_t failed = MapAligned(
      size, map_flags, state->file ? state->file->get() : -1, &state->mapping);
  if (failed < 0) return Result(info, failed);
  Advise(state->mapping, !huge);
  state->is_private = anonymous;
  state->huge_pages = huge;
  state_ = std::move(state);
  return Result(info, 0);
}

// mapFile(file, size, shared): the first `size` bytes of a file, a multiple of
// 4096. What is written stays in memory, or if `shared` is true goes to the
// file, which then has to be open for writing. Whoever makes the file shorter
// while it is mapped turns an access into SIGBUS.
Napi::Value GuestRam::MapFile(const Napi::CallbackInfo& info) {
  FileIo* const file = ReadObject<FileIo>(info, 0);
  uint64_t size = 0;
  if (file == nullptr || !ReadUint64(info, 1, kMaxSize, &size) || size == 0 ||
      size % kPage != 0) {
    return Result(info, -EINVAL);
  }
  if (state_) return Result(info, -EBUSY);
  if (!file->state()) return Result(info, -EBADF);
  struct stat status = {};
  const int fd = file->state()->fd.get();
  if (::fstat(fd, &status) < 0) return Result(info, -errno);
  if (!S_ISREG(status.st_mode) ||
      static_cast<uint64_t>(status.st_size) < size) {
    return Result(info, -EINVAL);
  }
  Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return Result(info, -errno);
  auto state = std::make_shared<RamState>();
  state->file = std::make_shared<Fd>(std::move(own));
  const bool shared = info[2].IsBoolean() && info[2].As<Napi::Boolean>();
  state->is_private = !shared;
  const int64_t failed =
      shared ? MapAligned(size, MAP_SHARED, state->file->get(), &state->mapping)
             : MapPrivate(size, state->file, &state->mapping);
  if (failed < 0) return Result(info, failed);
  if (shared) Advise(state->mapping, false);
  state_ = std::move(state);
  return Result(info, 0);
}

// fork(child): makes `child`, an unopened GuestRam, a copy of this memory. What
// both have is shared until one of them writes it. Nobody may write the memory
// meanwhile.
//
// The memfd does not change from then on: a page of a private mapping that was
// not copied yet still shows what others write to the file. So this memory,
// too, becomes a private mapping of it, at the same address.
Napi::Value GuestRam::Fork(const Napi::CallbackInfo& info) {
  GuestRam* const child = ReadObject<GuestRam>(info, 0);
  if (child == nullptr) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  if (child->state_) return Result(info, -EBUSY);
  if (state_->huge_pages) return Result(info, -EOPNOTSUPP);
  const Mapping& mapping = state_->mapping;
  if (!state_->is_private) {
    if (::mmap(mapping.data(), mapping.size(), PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, state_->file->get(),
               0) == MAP_FAILED) {
      return Result(info, -errno);
    }
    Advise(mapping, false);
    state_->is_private = true;
  }
  auto state = std::make_shared<RamState>();
  state->file = state_->file;
  state->is_private = true;
  int64_t failed = MapPrivate(mapping.size(), state->file, &state->mapping);
  if (failed < 0) return Result(info, failed);
  failed =
      EachWrittenPage(mapping, 0, mapping.size() / kPage, [&](uint64_t page) {
        std::memcpy(state->mapping.data() + page * kPage,
                    mapping.data() + page * kPage, kPage);
      });
  if (failed < 0) return Result(info, failed);
  child->state_ = std::move(state);
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
  uint8_t* const start = mapping.data() + offset;
  if (!state_->is_private) {
    return Result(
        info,
        Sys(::fallocate(
            state_->file->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            static_cast<off_t>(offset), static_cast<off_t>(length))));
  }
  if (::madvise(start, length, MADV_DONTNEED) < 0) return Result(info, -errno);
  // What the file holds shows again, and it belongs to others as well.
  for (uint64_t at = 0; state_->file && at < length; at += kPage) {
    if (!IsZero(start + at)) std::memset(start + at, 0, kPage);
  }
  return Result(info, 0);
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

// contents(offset, length, bitmap): which pages of a range hold something else
// than zeros, a bit a page from bit 0 of byte 0 on. Offset and length are
// multiples of 4096. Pages that nobody touched stay without memory.
Napi::Value GuestRam::Contents(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  uint64_t length = 0;
  Span<uint8_t> bitmap;
  if (!ReadUint64(info, 0, &offset) || !ReadUint64(info, 1, &length) ||
      !ReadBytes(info, 2, &bitmap) || offset % kPage != 0 ||
      length % kPage != 0) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const Mapping& mapping = state_->mapping;
  const uint64_t pages = length / kPage;
  if (!mapping.Contains(offset, length) || bitmap.length < (pages + 7) / 8) {
    return Result(info, -EINVAL);
  }
  std::memset(bitmap.data, 0, (pages + 7) / 8);
  const uint64_t first = offset / kPage;
  const auto look = [&](uint64_t page) {
    if (IsZero(mapping.data() + page * kPage)) return;
    bitmap.data[(page - first) / 8] |= 1 << ((page - first) % 8);
  };
  if (state_->file) {
    const int64_t failed = EachDataRun(
        state_->file->get(), first, pages, [&](uint64_t from, uint64_t count) {
          for (uint64_t page = from; page < from + count; page++) look(page);
        });
    if (failed < 0) return Result(info, failed);
  }
  if (state_->is_private) {
    return Result(info, EachWrittenPage(mapping, first, pages, look));
  }
  return Result(info, 0);
}

}  // namespace vmexit
