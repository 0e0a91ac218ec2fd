// Files and block devices: transfers to and from guest RAM, or a buffer of
// JavaScript, without a copy in between.
//
// Source: preadv2(2), fallocate(2), <linux/fs.h> (BLKDISCARD, BLKZEROOUT and
// the block device's geometry), statx(2), lseek(2), F_OFD_SETLK in fcntl(2),
// renameat2(2).
//
// Every call blocks. A short transfer is continued, so a short result means
// the end of the file.

#include "file_io.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "guest_ram.h"
#include "transfer.h"

// In <stdio.h> only where the C library has renameat2.
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

namespace vmexit {
namespace {

// Reads an unsigned attribute of a block device.
template <typename T>
double Ask(int fd, unsigned long request, double otherwise) {
  T value = 0;
  return ::ioctl(fd, request, &value) < 0 ? otherwise
                                          : static_cast<double>(value);
}

}  // namespace

Napi::Function FileIo::Define(Napi::Env env) {
  return Handle::Define(
      env, "FileIo",
      {
          InstanceMethod<&FileIo::Open>("open"),
          InstanceMethod<&FileIo::Size>("size"),
          InstanceMethod<&FileIo::Describe>("describe"),
          InstanceMethod<&FileIo::Preadv>("preadv"),
          InstanceMethod<&FileIo::Pwritev>("pwritev"),
          InstanceMethod<&FileIo::Pread>("pread"),
          InstanceMethod<&FileIo::Pwrite>("pwrite"),
          InstanceMethod<&FileIo::Fdatasync>("fdatasync"),
          InstanceMethod<&FileIo::Discard>("discard"),
          InstanceMethod<&FileIo::WriteZeroes>("writeZeroes"),
          InstanceMethod<&FileIo::Truncate>("truncate"),
          InstanceMethod<&FileIo::Allocate>("allocate"),
          InstanceMethod<&FileIo::Data>("data"),
          InstanceMethod<&FileIo::LockByte>("lockByte"),
          InstanceMethod<&FileIo::ByteIsLocked>("byteIsLocked"),
      });
}

// open(path, flags). Regular files and block devices only; anything else is
// -EINVAL, at once: opening a FIFO would otherwise wait for its other end.
Napi::Value FileIo::Open(const Napi::CallbackInfo& info) {
  std::string path;
  uint32_t flags = 0;
  if (!ReadPath(info, 0, &path) || !ReadUint32(info, 1, &flags) ||
      (flags & ~(kReadOnly | kDirect | kCreate)) != 0) {
    return Result(info, -EINVAL);
  }
  if (state_) return Result(info, -EBUSY);
  const int open_flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                         (flags & kReadOnly ? O_RDONLY : O_RDWR) |
                         (flags & kDirect ? O_DIRECT : 0) |
                         (flags & kCreate ? O_CREAT | O_EXCL : 0);
  Fd fd(::open(path.c_str(), open_flags, 0666));
  if (!fd.valid()) return Result(info, -errno);
  struct stat status = {};
  if (::fstat(fd.get(), &status) < 0) return Result(info, -errno);
  if (S_ISDIR(status.st_mode)) return Result(info, -EISDIR);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return Result(info, -EINVAL);
  }
  const int current = ::fcntl(fd.get(), F_GETFL);
  if (current < 0 || ::fcntl(fd.get(), F_SETFL, current & ~O_NONBLOCK) < 0) {
    return Result(info, -errno);
  }
  struct statfs system = {};
  const bool in_memory =
      ::fstatfs(fd.get(), &system) == 0 &&
      (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC);
  const bool block_device = S_ISBLK(status.st_mode);
  state_ = std::make_shared<FileState>(FileState{std::move(fd), block_device,
                                                 (flags & kDirect) != 0,
                                                 in_memory && !block_device});
  return Result(info, 0);
}

// size() in bytes.
Napi::Value FileIo::Size(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  if (state_->block_device) {
    uint64_t size = 0;
    if (::ioctl(state_->fd.get(), BLKGETSIZE64, &size) < 0) {
      return Result(info, -errno);
    }
    return Result(info, static_cast<int64_t>(size));
  }
  struct stat status = {};
  if (::fstat(state_->fd.get(), &status) < 0) return Result(info, -errno);
  return Result(info, status.st_size);
}

// describe(out): 1 for a block device, else 0; its logical and physical block
// size, minimum and optimal I/O size in bytes (for a file 512, 4096, 0, 0); the
// alignment in bytes that O_DIRECT needs. Six doubles.
Napi::Value FileIo::Describe(const Napi::CallbackInfo& info) {
  Span<double> out;
  if (!ReadDoubles(info, 0, &out) || out.length < 6) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const int fd = state_->fd.get();
  const bool block = state_->block_device;
  out.data[0] = block ? 1 : 0;
  out.data[1] = block ? Ask<int>(fd, BLKSSZGET, 512) : 512;
  out.data[2] = block ? Ask<unsigned int>(fd, BLKPBSZGET, 512) : 4096;
  out.data[3] = block ? Ask<unsigned int>(fd, BLKIOMIN, 0) : 0;
  out.data[4] = block ? Ask<unsigned int>(fd, BLKIOOPT, 0) : 0;
  out.data[5] = block ? out.data[1] : 4096;
#ifdef STATX_DIOALIGN
  struct statx status = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN) && status.stx_dio_offset_align > 0) {
    out.data[5] =
        std::max(status.stx_dio_offset_align, status.stx_dio_mem_align);
  }
#endif
  return Result(info, 0);
}

// The work of preadv and pwritev: (memory, pairs, first, count, offset). Memory
// is guest RAM or a Uint8Array. The pairs are [offset in it, length] doubles;
// `first` and `count` are in pairs.
int64_t FileIo::TransferPairs(const Napi::CallbackInfo& info, bool write,
                              int flags) {
  GuestRam* const ram = ReadObject<GuestRam>(info, 0);
  Span<uint8_t> memory;
  Span<double> pairs;
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t offset = 0;
  if ((ram == nullptr && !ReadBytes(info, 0, &memory)) ||
      !ReadDoubles(info, 1, &pairs) || !ReadUint64(info, 2, &first) ||
      !ReadUint64(info, 3, &count) || !ReadUint64(info, 4, &offset)) {
    return -EINVAL;
  }
  const uint64_t available = pairs.length / 2;
  if (first > available || count > available - first) return -EINVAL;
  if (!state_) return -EBADF;
  if (ram != nullptr) {
    if (!ram->state()) return -EBADF;
    const Mapping& mapping = ram->state()->mapping;
    memory = {mapping.data(), mapping.size()};
  }
  const double* const start = pairs.data + 2 * first;
  const Transfer transfer = {state_->fd.get(), write, flags};

  iovec parts[kMaxParts];
  if (count > kMaxParts) {
    // Nothing is moved unless everything can be.
    for (uint64_t done = 0; done < count; done += kMaxParts) {
      size_t ignored = 0;
      if (!FillParts(memory, start + 2 * done,
                     std::min<uint64_t>(kMaxParts, count - done), parts,
                     &ignored)) {
        return -EFAULT;
      }
    }
  }
  int64_t moved = 0;
  for (uint64_t done = 0; done < count; done += kMaxParts) {
    const size_t batch = std::min<uint64_t>(kMaxParts, count - done);
    size_t wanted = 0;
    if (!FillParts(memory, start + 2 * done, batch, parts, &wanted)) {
      return -EFAULT;
    }
    const int64_t some = TransferAll(transfer, parts, batch,
                                     offset + static_cast<uint64_t>(moved));
    if (some < 0) return some;
    moved += some;
    if (static_cast<size_t>(some) < wanted) break;
  }
  return moved;
}

// preadv(memory, pairs, first, count, offset): from the file to memory. Returns
// bytes moved. -EFAULT if a pair is not all within the memory.
Napi::Value FileIo::Preadv(const Napi::CallbackInfo& info) {
  return Result(info, TransferPairs(info, false, 0));
}

// pwritev(memory, pairs, first, count, offset, dsync): from memory to the file,
// and with `dsync` to stable storage before it returns.
Napi::Value FileIo::Pwritev(const Napi::CallbackInfo& info) {
  const Napi::Value dsync = info[5];
  if (!dsync.IsBoolean()) return Result(info, -EINVAL);
  return Result(info, TransferPairs(info, true,
                                    dsync.As<Napi::Boolean>() ? RWF_DSYNC : 0));
}

// pread(bytes, offset): fills a Uint8Array. Returns bytes read.
Napi::Value FileIo::Pread(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  uint64_t offset = 0;
  if (!ReadBytes(info, 0, &bytes) || !ReadUint64(info, 1, &offset)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  iovec part = {bytes.data, bytes.length};
  return Result(info,
                TransferAll({state_->fd.get(), false, 0}, &part, 1, offset));
}

// pwrite(bytes, offset): writes a Uint8Array. Returns bytes written.
Napi::Value FileIo::Pwrite(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  uint64_t offset = 0;
  if (!ReadBytes(info, 0, &bytes) || !ReadUint64(info, 1, &offset)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  iovec part = {bytes.data, bytes.length};
  return Result(info,
                TransferAll({state_->fd.get(), true, 0}, &part, 1, offset));
}

Napi::Value FileIo::Fdatasync(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::fdatasync(state_->fd.get())));
}

// discard(offset, length): frees the storage of the bytes. -EOPNOTSUPP where
// the file system or device does not support it.
Napi::Value FileIo::Discard(const Napi::CallbackInfo& info) {
  uint64_t range[2] = {};
  if (!ReadUint64(info, 0, &range[0]) || !ReadUint64(info, 1, &range[1])) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const int failed =
      state_->block_device
          ? ::ioctl(state_->fd.get(), BLKDISCARD, range)
          : ::fallocate(
                state_->fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(range[0]), static_cast<off_t>(range[1]));
  return Result(info, Sys(failed));
}

// writeZeroes(offset, length, unmap): the bytes read as zero from now on; with
// `unmap` the storage may be freed. -EOPNOTSUPP where the file system or
// device cannot.
Napi::Value FileIo::WriteZeroes(const Napi::CallbackInfo& info) {
  uint64_t range[2] = {};
  const Napi::Value unmap = info[2];
  if (!ReadUint64(info, 0, &range[0]) || !ReadUint64(info, 1, &range[1]) ||
      !unmap.IsBoolean()) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const int fd = state_->fd.get();
  if (state_->block_device) {
    return Result(info, Sys(::ioctl(fd, BLKZEROOUT, range)));
  }
  const int mode =
      FALLOC_FL_KEEP_SIZE |
      (unmap.As<Napi::Boolean>() ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
  return Result(info, Sys(::fallocate(fd, mode, static_cast<off_t>(range[0]),
                                      static_cast<off_t>(range[1]))));
}

// truncate(size): sets the length of a regular file in bytes.
Napi::Value FileIo::Truncate(const Napi::CallbackInfo& info) {
  uint64_t size = 0;
  if (!ReadUint64(info, 0, &size)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(info,
                Sys(::ftruncate(state_->fd.get(), static_cast<off_t>(size))));
}

// allocate(offset, length): reserves storage, and lengthens the file to there.
// -EOPNOTSUPP where the file system cannot.
Napi::Value FileIo::Allocate(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!ReadUint64(info, 0, &offset) || !ReadUint64(info, 1, &length)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  return Result(info,
                Sys(::fallocate(state_->fd.get(), 0, static_cast<off_t>(offset),
                                static_cast<off_t>(length))));
}

// data(offset, hole): where the next data starts from `offset` on, or with
// `hole` the next hole; the end of the file counts as one. -ENXIO if there is
// none. A file system without holes calls everything data.
Napi::Value FileIo::Data(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  const Napi::Value hole = info[1];
  if (!ReadUint64(info, 0, &offset) || !hole.IsBoolean()) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  return Result(info,
                Sys(::lseek(state_->fd.get(), static_cast<off_t>(offset),
                            hole.As<Napi::Boolean>() ? SEEK_HOLE : SEEK_DATA)));
}

// lockByte(offset, lock): takes or drops a shared lock on one byte. It belongs
// to the open file, not to the process. -EAGAIN if there is an exclusive one.
Napi::Value FileIo::LockByte(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  const Napi::Value lock = info[1];
  if (!ReadUint64(info, 0, &offset) || !lock.IsBoolean()) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  struct flock range = {};
  range.l_type = lock.As<Napi::Boolean>() ? F_RDLCK : F_UNLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(offset);
  range.l_len = 1;
  return Result(info, Sys(::fcntl(state_->fd.get(), F_OFD_SETLK, &range)));
}

// byteIsLocked(offset): 1 if another open file holds a lock on that byte.
Napi::Value FileIo::ByteIsLocked(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  if (!ReadUint64(info, 0, &offset)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(offset);
  range.l_len = 1;
  const int failed = ::fcntl(state_->fd.get(), F_OFD_GETLK, &range);
  if (failed < 0) return Result(info, -errno);
  return Result(info, range.l_type == F_UNLCK ? 0 : 1);
}

Napi::Value ExchangePaths(const Napi::CallbackInfo& info) {
  std::string path;
  std::string other;
  if (!ReadPath(info, 0, &path) || !ReadPath(info, 1, &other)) {
    return Result(info, -EINVAL);
  }
  // By its number: the C library has a function for it since 2.28.
  return Result(info, Sys(::syscall(__NR_renameat2, AT_FDCWD, path.c_str(),
                                    AT_FDCWD, other.c_str(), RENAME_EXCHANGE)));
}

}  // namespace vmexit
