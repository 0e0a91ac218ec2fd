// Frames of a tap interface, or of a socket: one system call for each frame.
// No call waits.
//
// Source: <linux/if_tun.h>, Documentation/networking/tuntap.rst.

#include "net_io.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>
#include <string>
#include <utility>

#include "guest_ram.h"
#include "transfer.h"

namespace vmexit {

Napi::Function NetIo::Define(Napi::Env env) {
  return Handle::Define(
      env, "NetIo",
      {
          InstanceMethod<&NetIo::OpenTap>("openTap"),
          InstanceMethod<&NetIo::Adopt>("adopt"),
          InstanceMethod<&NetIo::TapFlags>("tapFlags"),
          InstanceMethod<&NetIo::SetHeaderSize>("setHeaderSize"),
          InstanceMethod<&NetIo::SetOffload>("setOffload"),
          InstanceMethod<&NetIo::SetSendBuffer>("setSendBuffer"),
          InstanceMethod<&NetIo::SetQueue>("setQueue"),
          InstanceMethod<&NetIo::Receive>("receive"),
          InstanceMethod<&NetIo::Send>("send"),
      });
}

// openTap(name, flags, out): a queue of a tap interface, which is made if there
// is none of that name. `flags` are IFF_*; "%d" in the name stands for a number
// that the kernel selects. Puts the name into `out`, IFNAMSIZ bytes.
Napi::Value NetIo::OpenTap(const Napi::CallbackInfo& info) {
  std::string name;
  uint32_t flags = 0;
  Span<uint8_t> out;
  if (!ReadPath(info, 0, &name) || name.size() >= IFNAMSIZ ||
      !ReadUint32(info, 1, &flags) || flags > 0xffff ||
      !ReadBytes(info, 2, &out) || out.length < IFNAMSIZ) {
    return Result(info, -EINVAL);
  }
  if (state_) return Result(info, -EBUSY);
  Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return Result(info, -errno);
  ifreq request = {};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(flags);
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) return Result(info, -errno);
  std::memcpy(out.data, request.ifr_name, IFNAMSIZ);
  state_ = std::make_shared<NetState>(NetState{std::move(fd)});
  return Result(info, 0);
}

// adopt(fd): a duplicate of a descriptor of this process, which no longer
// blocks. The number itself stays open.
Napi::Value NetIo::Adopt(const Napi::CallbackInfo& info) {
  uint32_t number = 0;
  if (!ReadUint32(info, 0, &number) || number > INT32_MAX) {
    return Result(info, -EINVAL);
  }
  if (state_) return Result(info, -EBUSY);
  Fd fd(::fcntl(static_cast<int>(number), F_DUPFD_CLOEXEC, 3));
  if (!fd.valid()) return Result(info, -errno);
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return Result(info, -errno);
  }
  state_ = std::make_shared<NetState>(NetState{std::move(fd)});
  return Result(info, 0);
}

// tapFlags(): IFF_* of a tap interface's queue; an error for another
// descriptor.
Napi::Value NetIo::TapFlags(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  ifreq request = {};
  if (::ioctl(state_->fd.get(), TUNGETIFF, &request) < 0) {
    return Result(info, -errno);
  }
  return Result(info, static_cast<unsigned short>(request.ifr_flags));
}

// setHeaderSize(bytes): of the virtio-net header before each frame.
Napi::Value NetIo::SetHeaderSize(const Napi::CallbackInfo& info) {
  uint32_t bytes = 0;
  if (!ReadUint32(info, 0, &bytes) || bytes > INT32_MAX) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  int size = static_cast<int>(bytes);
  return Result(info, Sys(::ioctl(state_->fd.get(), TUNSETVNETHDRSZ, &size)));
}

// setOffload(flags): TUN_F_*: what the receiver of frames completes itself.
Napi::Value NetIo::SetOffload(const Napi::CallbackInfo& info) {
  uint32_t flags = 0;
  if (!ReadUint32(info, 0, &flags)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), TUNSETOFFLOAD,
                                  static_cast<unsigned long>(flags))));
}

// setSendBuffer(bytes): how much may be queued before `send` returns -EAGAIN.
Napi::Value NetIo::SetSendBuffer(const Napi::CallbackInfo& info) {
  uint32_t bytes = 0;
  if (!ReadUint32(info, 0, &bytes) || bytes > INT32_MAX) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  int size = static_cast<int>(bytes);
  return Result(info, Sys(::ioctl(state_->fd.get(), TUNSETSNDBUF, &size)));
}

// setQueue(on): attaches this queue of a tap interface, or detaches it.
Napi::Value NetIo::SetQueue(const Napi::CallbackInfo& info) {
  const Napi::Value on = info[0];
  if (!on.IsBoolean()) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  ifreq request = {};
  request.ifr_flags = static_cast<short>(
      on.As<Napi::Boolean>().Value() ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
  return Result(info, Sys(::ioctl(state_->fd.get(), TUNSETQUEUE, &request)));
}

// receive(bytes): the next frame. Returns its length, or -EAGAIN. What does not
// fit is lost.
Napi::Value NetIo::Receive(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  if (!ReadBytes(info, 0, &bytes)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::read(state_->fd.get(), bytes.data, bytes.length)));
}

// send(head, memory, pairs, first, count): one frame: the bytes of `head`, then
// [offset, length] pairs of memory, which is guest RAM or a Uint8Array. Returns
// its length; -EFAULT if a pair is not all within the memory; -E2BIG for more
// pairs than one system call takes.
Napi::Value NetIo::Send(const Napi::CallbackInfo& info) {
  Span<uint8_t> head;
  GuestRam* const ram = ReadObject<GuestRam>(info, 1);
  Span<uint8_t> memory;
  Span<double> pairs;
  uint64_t first = 0;
  uint64_t count = 0;
  if (!ReadBytes(info, 0, &head) ||
      (ram == nullptr && !ReadBytes(info, 1, &memory)) ||
      !ReadDoubles(info, 2, &pairs) || !ReadUint64(info, 3, &first) ||
      !ReadUint64(info, 4, &count)) {
    return Result(info, -EINVAL);
  }
  const uint64_t available = pairs.length / 2;
  if (first > available || count > available - first) {
    return Result(info, -EINVAL);
  }
  if (count >= kMaxParts) return Result(info, -E2BIG);
  if (!state_) return Result(info, -EBADF);
  if (ram != nullptr) {
    if (!ram->state()) return Result(info, -EBADF);
    const Mapping& mapping = ram->state()->mapping;
    memory = {mapping.data(), mapping.size()};
  }
  iovec parts[kMaxParts];
  parts[0] = {head.data, head.length};
  size_t ignored = 0;
  if (!FillParts(memory, pairs.data + 2 * first, count, parts + 1, &ignored)) {
    return Result(info, -EFAULT);
  }
  return Result(info, Sys(::writev(state_->fd.get(), parts,
                                   static_cast<int>(count) + 1)));
}

Napi::Value PingSocket(const Napi::CallbackInfo& info) {
  uint32_t family = 0;
  if (!ReadUint32(info, 0, &family) ||
      (family != AF_INET && family != AF_INET6)) {
    return Result(info, -EINVAL);
  }
  const int protocol = family == AF_INET ? static_cast<int>(IPPROTO_ICMP)
                                         : static_cast<int>(IPPROTO_ICMPV6);
  return Result(
      info, Sys(::socket(static_cast<int>(family),
                         SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)));
}

}  // namespace vmexit
