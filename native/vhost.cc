// The vhost API: one method for each ioctl, or for several that belong
// together.
//
// The kernel reads and writes guest RAM by addresses of this process. So a
// handle keeps the mapping that it was given, until it gets another one or its
// descriptor is closed; and rings are offsets in it, which are checked here.
//
// Source: <linux/vhost.h>, <linux/vhost_types.h>.

#include "vhost.h"

#include <fcntl.h>
// Without the functions of <linux/virtio_ring.h>, which are not C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/vhost.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <iterator>
#include <new>
#include <string>
#include <utility>

#include "event_io.h"
#include "net_io.h"

namespace vmexit {
namespace {

constexpr size_t kMaxRegions = 32;
constexpr size_t kRegionNumbers = 3;

// Room for struct vhost_memory, whose regions have no fixed number.
constexpr size_t kMemoryBytes =
    sizeof(vhost_memory) + kMaxRegions * sizeof(vhost_memory_region);

// Whether [offset, offset + length) is in `size` bytes.
bool IsWithin(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

}  // namespace

Napi::Function Vhost::Define(Napi::Env env) {
  return Handle::Define(
      env, "Vhost",
      {
          InstanceMethod<&Vhost::Open>("open"),
          InstanceMethod<&Vhost::Adopt>("adopt"),
          InstanceMethod<&Vhost::SetOwner>("setOwner"),
          InstanceMethod<&Vhost::Features>("features"),
          InstanceMethod<&Vhost::SetFeatures>("setFeatures"),
          InstanceMethod<&Vhost::SetMemory>("setMemory"),
          InstanceMethod<&Vhost::SetRing>("setRing"),
          InstanceMethod<&Vhost::SetEvents>("setEvents"),
          InstanceMethod<&Vhost::RingBase>("ringBase"),
          InstanceMethod<&Vhost::SetNetBackend>("setNetBackend"),
          InstanceMethod<&Vhost::SetGuestCid>("setGuestCid"),
          InstanceMethod<&Vhost::SetRunning>("setRunning"),
      });
}

// open(path).
Napi::Value Vhost::Open(const Napi::CallbackInfo& info) {
  std::string path;
  if (!ReadPath(info, 0, &path)) return Result(info, -EINVAL);
  if (state_) return Result(info, -EBUSY);
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return Result(info, -errno);
  state_ = std::make_shared<VhostState>();
  state_->fd = std::move(fd);
  return Result(info, 0);
}

// adopt(fd): a duplicate of a descriptor of this process. The number itself
// stays open.
Napi::Value Vhost::Adopt(const Napi::CallbackInfo& info) {
  uint32_t number = 0;
  if (!ReadUint32(info, 0, &number) || number > INT32_MAX) {
    return Result(info, -EINVAL);
  }
  if (state_) return Result(info, -EBUSY);
  Fd fd(::fcntl(static_cast<int>(number), F_DUPFD_CLOEXEC, 3));
  if (!fd.valid()) return Result(info, -errno);
  state_ = std::make_shared<VhostState>();
  state_->fd = std::move(fd);
  return Result(info, 0);
}

// setOwner(): the kernel's thread uses the memory of this process from now on.
Napi::Value Vhost::SetOwner(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), VHOST_SET_OWNER)));
}

// features(out): two words, the low one first.
Napi::Value Vhost::Features(const Napi::CallbackInfo& info) {
  Span<uint32_t> out;
  if (!ReadWords(info, 0, &out) || out.length < 2) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  uint64_t features = 0;
  if (::ioctl(state_->fd.get(), VHOST_GET_FEATURES, &features) < 0) {
    return Result(info, -errno);
  }
  out.data[0] = static_cast<uint32_t>(features);
  out.data[1] = static_cast<uint32_t>(features >> 32);
  return Result(info, 0);
}

// setFeatures(low, high).
Napi::Value Vhost::SetFeatures(const Napi::CallbackInfo& info) {
  uint32_t low = 0;
  uint32_t high = 0;
  if (!ReadUint32(info, 0, &low) || !ReadUint32(info, 1, &high)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  uint64_t features = uint64_t{high} << 32 | low;
  return Result(info,
                Sys(::ioctl(state_->fd.get(), VHOST_SET_FEATURES, &features)));
}

// setMemory(ram, regions): guest address, offset in `ram` and bytes of each
// region. Without `ram` the kernel has no memory, and this handle keeps none.
Napi::Value Vhost::SetMemory(const Napi::CallbackInfo& info) {
  GuestRam* const ram = ReadObject<GuestRam>(info, 0);
  Span<double> numbers;
  if ((ram == nullptr && !info[0].IsUndefined()) ||
      !ReadDoubles(info, 1, &numbers) || numbers.length % kRegionNumbers != 0) {
    return Result(info, -EINVAL);
  }
  const size_t count = numbers.length / kRegionNumbers;
  if (count > kMaxRegions) return Result(info, -E2BIG);
  if (ram == nullptr && count > 0) return Result(info, -EINVAL);
  if (!state_ || (ram != nullptr && !ram->state())) return Result(info, -EBADF);
  alignas(vhost_memory) uint8_t bytes[kMemoryBytes] = {};
  auto* const memory = new (bytes) vhost_memory;
  memory->nregions = static_cast<uint32_t>(count);
  memory->padding = 0;
  for (size_t n = 0; n < count; n++) {
    const double* const numbers_of = numbers.data + kRegionNumbers * n;
    const Mapping& mapping = ram->state()->mapping;
    uint64_t address = 0;
    uint64_t offset = 0;
    uint64_t length = 0;
    if (!ToInteger(numbers_of[0], kMaxInteger, &address) ||
        !ToInteger(numbers_of[1], kMaxInteger, &offset) ||
        !ToInteger(numbers_of[2], kMaxInteger, &length)) {
      return Result(info, -EINVAL);
    }
    if (!IsWithin(offset, length, mapping.size())) return Result(info, -EFAULT);
    memory->regions[n] = {
        .guest_phys_addr = address,
        .memory_size = length,
        .userspace_addr = reinterpret_cast<uint64_t>(mapping.data()) + offset,
    };
  }
  const std::lock_guard lock(state_->mutex);
  if (::ioctl(state_->fd.get(), VHOST_SET_MEM_TABLE, memory) < 0) {
    return Result(info, -errno);
  }
  // The kernel no longer uses the memory from before.
  state_->ram = ram == nullptr ? nullptr : ram->state();
  return Result(info, 0);
}

// setRing(index, size, base, table, avail, used): its descriptors, the index
// in the available ring that comes next, and offsets in the memory.
Napi::Value Vhost::SetRing(const Napi::CallbackInfo& info) {
  vhost_vring_state number = {};
  vhost_vring_state base = {};
  uint64_t table = 0;
  uint64_t avail = 0;
  uint64_t used = 0;
  if (!ReadUint32(info, 0, &number.index) ||
      !ReadUint32(info, 1, &number.num) || !ReadUint32(info, 2, &base.num) ||
      !ReadUint64(info, 3, &table) || !ReadUint64(info, 4, &avail) ||
      !ReadUint64(info, 5, &used)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  if (!state_->ram) return Result(info, -EFAULT);
  const Mapping& mapping = state_->ram->mapping;
  const uint64_t size = number.num;
  if (!IsWithin(table, 16 * size, mapping.size()) ||
      !IsWithin(avail, 6 + 2 * size, mapping.size()) ||
      !IsWithin(used, 6 + 8 * size, mapping.size())) {
    return Result(info, -EFAULT);
  }
  const uint64_t start = reinterpret_cast<uint64_t>(mapping.data());
  vhost_vring_addr address = {};
  address.index = number.index;
  address.desc_user_addr = start + table;
  address.avail_user_addr = start + avail;
  address.used_user_addr = start + used;
  base.index = number.index;
  const int fd = state_->fd.get();
  if (::ioctl(fd, VHOST_SET_VRING_NUM, &number) < 0 ||
      ::ioctl(fd, VHOST_SET_VRING_BASE, &base) < 0 ||
      ::ioctl(fd, VHOST_SET_VRING_ADDR, &address) < 0) {
    return Result(info, -errno);
  }
  return Result(info, 0);
}

// setEvents(index, kick, call, error): what the driver signals, what the kernel
// signals for buffers that it used, and for a ring that it cannot serve.
// Undefined: none.
Napi::Value Vhost::SetEvents(const Napi::CallbackInfo& info) {
  vhost_vring_file file = {};
  if (!ReadUint32(info, 0, &file.index)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  constexpr unsigned long kRequests[] = {
      VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR};
  int descriptors[std::size(kRequests)];
  for (size_t n = 0; n < std::size(kRequests); n++) {
    descriptors[n] = VHOST_FILE_UNBIND;
    if (info[n + 1].IsUndefined()) continue;
    EventFd* const event = ReadObject<EventFd>(info, n + 1);
    if (event == nullptr) return Result(info, -EINVAL);
    if (!event->state()) return Result(info, -EBADF);
    descriptors[n] = event->state()->fd.get();
  }
  for (size_t n = 0; n < std::size(kRequests); n++) {
    file.fd = descriptors[n];
    if (::ioctl(state_->fd.get(), kRequests[n], &file) < 0) {
      return Result(info, -errno);
    }
  }
  return Result(info, 0);
}

// ringBase(index): the index in the available ring that comes next. For a
// ring without a back end.
Napi::Value Vhost::RingBase(const Napi::CallbackInfo& info) {
  vhost_vring_state base = {};
  if (!ReadUint32(info, 0, &base.index)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  if (::ioctl(state_->fd.get(), VHOST_GET_VRING_BASE, &base) < 0) {
    return Result(info, -errno);
  }
  return Result(info, base.num & 0xffff);
}

// setNetBackend(index, net): the tap interface whose frames the ring carries;
// undefined: none. When it returns, the kernel does not use the ring.
Napi::Value Vhost::SetNetBackend(const Napi::CallbackInfo& info) {
  vhost_vring_file file = {};
  if (!ReadUint32(info, 0, &file.index)) return Result(info, -EINVAL);
  file.fd = VHOST_FILE_UNBIND;
  if (!info[1].IsUndefined()) {
    NetIo* const net = ReadObject<NetIo>(info, 1);
    if (net == nullptr) return Result(info, -EINVAL);
    if (!net->state()) return Result(info, -EBADF);
    file.fd = net->state()->fd.get();
  }
  if (!state_) return Result(info, -EBADF);
  return Result(info,
                Sys(::ioctl(state_->fd.get(), VHOST_NET_SET_BACKEND, &file)));
}

// setGuestCid(cid): -EADDRINUSE if another guest has it.
Napi::Value Vhost::SetGuestCid(const Napi::CallbackInfo& info) {
  uint64_t cid = 0;
  if (!ReadUint64(info, 0, &cid)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(
      info, Sys(::ioctl(state_->fd.get(), VHOST_VSOCK_SET_GUEST_CID, &cid)));
}

// setRunning(on): of /dev/vhost-vsock, all of whose rings are served or none.
Napi::Value Vhost::SetRunning(const Napi::CallbackInfo& info) {
  const Napi::Value on = info[0];
  if (!on.IsBoolean()) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  int running = on.As<Napi::Boolean>().Value() ? 1 : 0;
  return Result(
      info, Sys(::ioctl(state_->fd.get(), VHOST_VSOCK_SET_RUNNING, &running)));
}

}  // namespace vmexit
