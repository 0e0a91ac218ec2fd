// The KVM system descriptor: queries of /dev/kvm, and new VMs.
//
// Source: Linux Documentation/virt/kvm/api.rst, section 4, "Type: system
// ioctl".

#include "kvm_system.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <string>
#include <utility>

#include "counted.h"
#include "kvm_api.h"
#include "kvm_vm.h"

namespace vmexit {
namespace {

// More than any kernel has.
constexpr size_t kMaxCpuidEntries = 256;
constexpr size_t kMaxMsrs = 4096;

}  // namespace

Napi::Function KvmSystem::Define(Napi::Env env) {
  return Handle::Define(
      env, "KvmSystem",
      {
          InstanceMethod<&KvmSystem::Open>("open"),
          InstanceMethod<&KvmSystem::ApiVersion>("apiVersion"),
          InstanceMethod<&KvmSystem::CheckExtension>("checkExtension"),
          InstanceMethod<&KvmSystem::VcpuMmapSize>("vcpuMmapSize"),
          InstanceMethod<&KvmSystem::SupportedCpuid>("supportedCpuid"),
          InstanceMethod<&KvmSystem::MsrList<KVM_GET_MSR_INDEX_LIST>>(
              "msrIndexList"),
          InstanceMethod<&KvmSystem::MsrList<KVM_GET_MSR_FEATURE_INDEX_LIST>>(
              "msrFeatureIndexList"),
          InstanceMethod<&KvmSystem::FeatureMsrs>("featureMsrs"),
          InstanceMethod<&KvmSystem::CreateVm>("createVm"),
      });
}

// open(path). -ENOTTY if it is not KVM: for another driver, the ioctls would
// mean something else.
Napi::Value KvmSystem::Open(const Napi::CallbackInfo& info) {
  std::string path;
  if (!ReadPath(info, 0, &path)) return Result(info, -EINVAL);
  if (state_) return Result(info, -EBUSY);
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return Result(info, -errno);
  if (::ioctl(fd.get(), KVM_GET_API_VERSION, 0) < 0) {
    return Result(info, -errno);
  }
  state_ = std::make_shared<SystemState>(SystemState{std::move(fd)});
  return Result(info, 0);
}

Napi::Value KvmSystem::ApiVersion(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info, Sys(::ioctl(state_->fd.get(), KVM_GET_API_VERSION, 0)));
}

// checkExtension(capability).
Napi::Value KvmSystem::CheckExtension(const Napi::CallbackInfo& info) {
  uint32_t capability = 0;
  if (!ReadUint32(info, 0, &capability)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  return Result(
      info, Sys(::ioctl(state_->fd.get(), KVM_CHECK_EXTENSION, capability)));
}

Napi::Value KvmSystem::VcpuMmapSize(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return Result(info,
                Sys(::ioctl(state_->fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0)));
}

// supportedCpuid(out): how many kvm_cpuid_entry2 there are; copies those that
// fit.
Napi::Value KvmSystem::SupportedCpuid(const Napi::CallbackInfo& info) {
  Span<uint32_t> out;
  if (!ReadWords(info, 0, &out)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  Counted<kvm_cpuid2, kvm_cpuid_entry2> list(kMaxCpuidEntries);
  list.header()->nent = kMaxCpuidEntries;
  if (::ioctl(state_->fd.get(), KVM_GET_SUPPORTED_CPUID, list.header()) < 0) {
    return Result(info, -errno);
  }
  const size_t count = std::min<size_t>(list.header()->nent, kMaxCpuidEntries);
  list.CopyOut(out.data,
               std::min(count, out.bytes() / sizeof(kvm_cpuid_entry2)));
  return Result(info, static_cast<int64_t>(count));
}

// msrIndexList(out), msrFeatureIndexList(out): how many indices there are;
// copies those that fit.
template <unsigned long kRequest>
Napi::Value KvmSystem::MsrList(const Napi::CallbackInfo& info) {
  Span<uint32_t> out;
  if (!ReadWords(info, 0, &out)) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  Counted<kvm_msr_list, uint32_t> list(kMaxMsrs);
  list.header()->nmsrs = kMaxMsrs;
  if (::ioctl(state_->fd.get(), kRequest, list.header()) < 0) {
    return Result(info, -errno);
  }
  const size_t count = std::min<size_t>(list.header()->nmsrs, kMaxMsrs);
  list.CopyOut(out.data, std::min(count, out.length));
  return Result(info, static_cast<int64_t>(count));
}

// featureMsrs(entries): fills in the values of kvm_msr_entry structs, up to the
// first that is refused; returns how many.
Napi::Value KvmSystem::FeatureMsrs(const Napi::CallbackInfo& info) {
  Span<uint8_t> bytes;
  if (!ReadBytes(info, 0, &bytes)) return Result(info, -EINVAL);
  const size_t count = bytes.length / sizeof(kvm_msr_entry);
  if (count > kMaxMsrs) return Result(info, -E2BIG);
  if (!state_) return Result(info, -EBADF);
  Counted<kvm_msrs, kvm_msr_entry> list(count);
  list.header()->nmsrs = static_cast<uint32_t>(count);
  list.CopyIn(bytes.data, count);
  const int done = ::ioctl(state_->fd.get(), KVM_GET_MSRS, list.header());
  if (done < 0) return Result(info, -errno);
  list.CopyOut(bytes.data, std::min<size_t>(done, count));
  return Result(info, done);
}

// createVm(vm, type): opens an unopened KvmVm.
Napi::Value KvmSystem::CreateVm(const Napi::CallbackInfo& info) {
  KvmVm* const vm = ReadObject<KvmVm>(info, 0);
  uint32_t type = 0;
  if (vm == nullptr || !ReadUint32(info, 1, &type)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  if (vm->state()) return Result(info, -EBUSY);
  const int page = ::ioctl(state_->fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (page < 0) return Result(info, -errno);
  int fd = -1;
  do {
    fd = ::ioctl(state_->fd.get(), KVM_CREATE_VM, type);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Result(info, -errno);
  auto state = std::make_shared<VmState>();
  state->fd = Fd(fd);
  state->run_page_size = static_cast<size_t>(page);
  vm->Adopt(std::move(state));
  return Result(info, 0);
}

}  // namespace vmexit
