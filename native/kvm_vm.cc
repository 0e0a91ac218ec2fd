// The KVM VM descriptor: memory slots, interrupt controllers, events.
//
// Source: Linux Documentation/virt/kvm/api.rst, section 4, "Type: vm ioctl".

#include "kvm_vm.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "counted.h"
#include "event_io.h"
#include "kvm_api.h"
#include "kvm_stats.h"
#include "kvm_vcpu.h"

namespace vmexit {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMaxRoutes = 4096;

}  // namespace

Napi::Function KvmVm::Define(Napi::Env env) {
  return Handle::Define(
      env, "KvmVm",
      {
          InstanceMethod<&KvmVm::CheckExtension>("checkExtension"),
          InstanceMethod<&KvmVm::EnableCap>("enableCap"),
          InstanceMethod<&KvmVm::SetTssAddr>("setTssAddr"),
          InstanceMethod<&KvmVm::SetIdentityMapAddr>("setIdentityMapAddr"),
          InstanceMethod<&KvmVm::SetUserMemoryRegion>("setUserMemoryRegion"),
          InstanceMethod<&KvmVm::GetDirtyLog>("getDirtyLog"),
          InstanceMethod<&KvmVm::ClearDirtyLog>("clearDirtyLog"),
          InstanceMethod<&KvmVm::CreateIrqchip>("createIrqchip"),
          InstanceMethod<&KvmVm::CreatePit2>("createPit2"),
          InstanceMethod<&KvmVm::IrqLine>("irqLine"),
          InstanceMethod<&KvmVm::PulseIrqLine>("pulseIrqLine"),
          InstanceMethod<&KvmVm::Irqfd>("irqfd"),
          InstanceMethod<&KvmVm::Ioeventfd>("ioeventfd"),
          InstanceMethod<&KvmVm::SetGsiRouting>("setGsiRouting"),
          InstanceMethod<&KvmVm::SignalMsi>("signalMsi"),
          InstanceMethod<&KvmVm::StructIoctl<KVM_GET_CLOCK, kvm_clock_data>>(
              "getClock"),
          InstanceMethod<&KvmVm::StructIoctl<KVM_SET_CLOCK, kvm_clock_data>>(
              "setClock"),
          InstanceMethod<&KvmVm::StructIoctl<KVM_GET_IRQCHIP, kvm_irqchip>>(
              "getIrqchip"),
          InstanceMethod<&KvmVm::StructIoctl<KVM_SET_IRQCHIP, kvm_irqchip>>(
              "setIrqchip"),
          InstanceMethod<&KvmVm::StructIoctl<KVM_GET_PIT2, kvm_pit_state2>>(
              "getPit2"),
          InstanceMethod<&KvmVm::StructIoctl<KVM_SET_PIT2, kvm_pit_state2>>(
              "setPit2"),
          InstanceMethod<&KvmVm::ReadStats>("readStats"),
          InstanceMethod<&KvmVm::CreateVcpu>("createVcpu"),
      });
}

// checkExtension(capability).
Napi::Value KvmVm::CheckExtension(const Napi::CallbackInfo& info) {
  uint32_t capability = 0;
  if (!ReadUint32(info, 0, &capability)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(
      info, Sys(::ioctl(state_->fd.get(), KVM_CHECK_EXTENSION, capability)));
}

// enableCap(capability, argument). No capability of a VM takes an address in
// this process as its argument, so any number is safe.
Napi::Value KvmVm::EnableCap(const Napi::CallbackInfo& info) {
  kvm_enable_cap cap = {};
  uint64_t argument = 0;
  if (!ReadUint32(info, 0, &cap.cap) || !ReadUint64(info, 1, &argument)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  cap.args[0] = argument;
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_ENABLE_CAP, &cap)));
}

// setTssAddr(address): guest-physical, three pages below 4 GiB.
Napi::Value KvmVm::SetTssAddr(const Napi::CallbackInfo& info) {
  uint32_t address = 0;
  if (!ReadUint32(info, 0, &address)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_SET_TSS_ADDR,
                                  static_cast<unsigned long>(address))));
}

// setIdentityMapAddr(address): guest-physical, one page below 4 GiB.
Napi::Value KvmVm::SetIdentityMapAddr(const Napi::CallbackInfo& info) {
  uint64_t address = 0;
  if (!ReadUint64(info, 0, &address)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  __u64 value = address;
  return Result(
      info, Sys(::ioctl(state_->fd.get(), KVM_SET_IDENTITY_MAP_ADDR, &value)));
}

// setUserMemoryRegion(slot, flags, address, ram, offset, size). Size 0 deletes
// the slot; ram and offset are then ignored.
Napi::Value KvmVm::SetUserMemoryRegion(const Napi::CallbackInfo& info) {
  kvm_userspace_memory_region region = {};
  uint64_t address = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
  if (!ReadUint32(info, 0, &region.slot) ||
      !ReadUint32(info, 1, &region.flags) || !ReadUint64(info, 2, &address) ||
      !ReadUint64(info, 5, &size)) {
    return Result(info, -EINVAL);
  }
  if (region.flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  std::shared_ptr<RamState> ram;
  if (size > 0) {
    GuestRam* const handle = ReadObject<GuestRam>(info, 3);
    if (handle == nullptr || !ReadUint64(info, 4, &offset)) {
      return Result(info, -EINVAL);
    }
    ram = handle->state();
    if (!ram) return Result(info, -EBADF);
    if (address % kPage != 0 || offset % kPage != 0 || size % kPage != 0 ||
        !ram->mapping.Contains(offset, size)) {
      return Result(info, -EINVAL);
    }
    region.userspace_addr =
        reinterpret_cast<uintptr_t>(ram->mapping.data()) + offset;
  }
  region.guest_phys_addr = address;
  region.memory_size = size;

  const std::lock_guard lock(state_->mutex);
  if (::ioctl(state_->fd.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0) {
    return Result(info, -errno);
  }
  if (size == 0) {
    state_->slots.erase(region.slot);
  } else {
    state_->slots.insert_or_assign(region.slot,
                                   VmState::Slot{std::move(ram), size});
  }
  return Result(info, 0);
}

// getDirtyLog(slot, bitmap): one bit for each page, in whole 64-bit words.
Napi::Value KvmVm::GetDirtyLog(const Napi::CallbackInfo& info) {
  kvm_dirty_log log = {};
  Span<uint8_t> bitmap;
  if (!ReadUint32(info, 0, &log.slot) || !ReadBytes(info, 1, &bitmap)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  // The kernel writes as much as the slot's size requires, so the slot must not
  // change between the check and the call.
  const std::lock_guard lock(state_->mutex);
  const auto slot = state_->slots.find(log.slot);
  if (slot == state_->slots.end()) return Result(info, -ENOENT);
  const uint64_t pages = slot->second.size / kPage;
  if (bitmap.length < (pages + 63) / 64 * 8) return Result(info, -EINVAL);
  log.dirty_bitmap = bitmap.data;
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_GET_DIRTY_LOG, &log)));
}

// clearDirtyLog(slot, bitmap, firstPage, pages): protects the pages whose bits
// are set again. The kernel refuses a range that the slot does not have.
Napi::Value KvmVm::ClearDirtyLog(const Napi::CallbackInfo& info) {
  kvm_clear_dirty_log log = {};
  Span<uint8_t> bitmap;
  uint64_t first = 0;
  if (!ReadUint32(info, 0, &log.slot) || !ReadBytes(info, 1, &bitmap) ||
      !ReadUint64(info, 2, &first) || !ReadUint32(info, 3, &log.num_pages)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  // In 64 bits: the sum must not wrap around.
  const uint64_t words = (uint64_t{log.num_pages} + 63) / 64;
  if (bitmap.length < words * 8) return Result(info, -EINVAL);
  log.first_page = first;
  log.dirty_bitmap = bitmap.data;
  return Result(info,
                Sys(::ioctl(state_->fd.get(), KVM_CLEAR_DIRTY_LOG, &log)));
}

Napi::Value KvmVm::CreateIrqchip(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_CREATE_IRQCHIP, 0)));
}

// createPit2(flags).
Napi::Value KvmVm::CreatePit2(const Napi::CallbackInfo& info) {
  kvm_pit_config config = {};
  if (!ReadUint32(info, 0, &config.flags)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_CREATE_PIT2, &config)));
}

// irqLine(gsi, level): level 0 or 1.
Napi::Value KvmVm::IrqLine(const Napi::CallbackInfo& info) {
  kvm_irq_level line = {};
  if (!ReadUint32(info, 0, &line.irq) || !ReadUint32(info, 1, &line.level)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_IRQ_LINE, &line)));
}

// pulseIrqLine(gsi): up and down again, one interrupt for an edge-triggered
// input.
Napi::Value KvmVm::PulseIrqLine(const Napi::CallbackInfo& info) {
  kvm_irq_level line = {};
  if (!ReadUint32(info, 0, &line.irq)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  for (const uint32_t level : {1, 0}) {
    line.level = level;
    if (::ioctl(state_->fd.get(), KVM_IRQ_LINE, &line) < 0) {
      return Result(info, -errno);
    }
  }
  return Result(info, 0);
}

// irqfd(event, gsi, flags, resample): `resample` is an EventFd where the flags
// have KVM_IRQFD_FLAG_RESAMPLE, otherwise ignored.
Napi::Value KvmVm::Irqfd(const Napi::CallbackInfo& info) {
  kvm_irqfd irqfd = {};
  EventFd* const event = ReadObject<EventFd>(info, 0);
  if (event == nullptr || !ReadUint32(info, 1, &irqfd.gsi) ||
      !ReadUint32(info, 2, &irqfd.flags)) {
    return Result(info, -EINVAL);
  }
  if (!state_ || !event->state()) return Result(info, -EBADF);
  irqfd.fd = static_cast<uint32_t>(event->state()->fd.get());
  if (irqfd.flags & KVM_IRQFD_FLAG_RESAMPLE) {
    EventFd* const resample = ReadObject<EventFd>(info, 3);
    if (resample == nullptr) return Result(info, -EINVAL);
    if (!resample->state()) return Result(info, -EBADF);
    irqfd.resamplefd = static_cast<uint32_t>(resample->state()->fd.get());
  }
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_IRQFD, &irqfd)));
}

// ioeventfd(event, address, length, datamatch, flags): length 0, 1, 2, 4 or 8
// bytes; without a datamatch (undefined) any value written is a match.
Napi::Value KvmVm::Ioeventfd(const Napi::CallbackInfo& info) {
  kvm_ioeventfd doorbell = {};
  uint64_t address = 0;
  uint64_t datamatch = 0;
  EventFd* const event = ReadObject<EventFd>(info, 0);
  if (event == nullptr || !ReadUint64(info, 1, &address) ||
      !ReadUint32(info, 2, &doorbell.len) ||
      !ReadUint32(info, 4, &doorbell.flags)) {
    return Result(info, -EINVAL);
  }
  doorbell.flags &= ~KVM_IOEVENTFD_FLAG_DATAMATCH;
  if (!info[3].IsUndefined()) {
    if (!ReadUint64(info, 3, &datamatch)) return Result(info, -EINVAL);
    doorbell.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
  }
  if (!state_ || !event->state()) return Result(info, -EBADF);
  doorbell.addr = address;
  doorbell.datamatch = datamatch;
  doorbell.fd = event->state()->fd.get();
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_IOEVENTFD, &doorbell)));
}

// setGsiRouting(entries): all kvm_irq_routing_entry structs, 12 words each.
Napi::Value KvmVm::SetGsiRouting(const Napi::CallbackInfo& info) {
  Span<uint32_t> words;
  if (!ReadWords(info, 0, &words)) return Result(info, -EINVAL);
  const size_t count = words.bytes() / sizeof(kvm_irq_routing_entry);
  if (words.bytes() % sizeof(kvm_irq_routing_entry) != 0) {
    return Result(info, -EINVAL);
  }
  if (count > kMaxRoutes) return Result(info, -E2BIG);
  if (!state_) return Result(info, -EBADF);
  Counted<kvm_irq_routing, kvm_irq_routing_entry> table(count);
  table.header()->nr = static_cast<uint32_t>(count);
  table.CopyIn(words.data, count);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_SET_GSI_ROUTING,
                                  table.header())));
}

// signalMsi(address, data): 1 or more if delivered, 0 if the guest blocked it.
Napi::Value KvmVm::SignalMsi(const Napi::CallbackInfo& info) {
  kvm_msi msi = {};
  uint64_t address = 0;
  if (!ReadUint64(info, 0, &address) || !ReadUint32(info, 1, &msi.data)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  msi.address_lo = static_cast<uint32_t>(address);
  msi.address_hi = static_cast<uint32_t>(address >> 32);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_SIGNAL_MSI, &msi)));
}

// An ioctl that reads or writes one struct of fixed size.
template <unsigned long kRequest, typename Struct>
Napi::Value KvmVm::StructIoctl(const Napi::CallbackInfo& info) {
  uint8_t* bytes = nullptr;
  if (!ReadStruct(info, 0, sizeof(Struct), &bytes)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), kRequest, bytes)));
}

// readStats(offset, out): bytes of the binary statistics.
Napi::Value KvmVm::ReadStats(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  Span<uint8_t> out;
  if (!ReadUint64(info, 0, &offset) || !ReadBytes(info, 1, &out)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  return Result(info,
                ReadBinaryStats(state_->fd.get(), &state_->stats, offset, out));
}

// createVcpu(vcpu, id): opens an unopened KvmVcpu and maps its kvm_run.
Napi::Value KvmVm::CreateVcpu(const Napi::CallbackInfo& info) {
  KvmVcpu* const vcpu = ReadObject<KvmVcpu>(info, 0);
  uint32_t id = 0;
  if (vcpu == nullptr || !ReadUint32(info, 1, &id)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  if (vcpu->state()) return Result(info, -EBUSY);
  Fd fd(::ioctl(state_->fd.get(), KVM_CREATE_VCPU, id));
  if (!fd.valid()) return Result(info, -errno);
  void* const page = ::mmap(nullptr, state_->run_page_size,
                            PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) return Result(info, -errno);
  vcpu->Adopt(std::make_shared<VcpuState>(
      state_, std::move(fd), Mapping(page, state_->run_page_size)));
  return Result(info, 0);
}

}  // namespace vmexit
