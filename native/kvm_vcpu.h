// The KVM vCPU descriptor.

#ifndef VMEXIT_NATIVE_KVM_VCPU_H_
#define VMEXIT_NATIVE_KVM_VCPU_H_

#include <napi.h>
#include <sys/types.h>

#include <atomic>
#include <memory>
#include <utility>

#include "exit_queue.h"
#include "fd.h"
#include "handle.h"
#include "kvm_vm.h"
#include "mapping.h"

namespace vmexit {

struct VcpuState {
  VcpuState(std::shared_ptr<VmState> vm_state, Fd vcpu_fd, Mapping run_page)
      : vm(std::move(vm_state)),
        page(std::move(run_page)),
        fd(std::move(vcpu_fd)) {}

  // First: the guest's memory stays mapped until the vCPU is closed.
  const std::shared_ptr<VmState> vm;
  const Mapping page;  // kvm_run
  Fd stats;
  const Fd fd;
  // CLOCK_MONOTONIC in ns: when a timed run entered the last KVM_RUN, and when
  // it left it. One thread writes, any thread may read.
  std::atomic<double> times[2] = {};
  // The thread that is inside an ioctl of this vCPU, or 0. The kernel would
  // make a second thread wait until the guest exits, perhaps for ever.
  std::atomic<pid_t> user{0};
  // Made when the vCPU first runs apart. Last: its thread uses all the others.
  std::unique_ptr<Apart> apart;
};

// Makes the current KVM_RUN of the vCPU, or else the next one, return -EINTR.
// From any thread.
void KickVcpu(VcpuState* state);

// The data of a run function: the vCPU, until its handle is closed.
struct VcpuRunner {
  std::shared_ptr<VcpuState> state;
};

class KvmVcpu : public Handle<KvmVcpu, VcpuState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740004,
                                             0x4b766d56637075};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

  // As for every handle; also removes the vCPU from the run function.
  Napi::Value Close(const Napi::CallbackInfo& info);

 private:
  // kvm_vcpu.cc: entering the guest and leaving it
  Napi::Value Runner(const Napi::CallbackInfo& info);
  template <bool kTimed>
  static napi_value Run(napi_env env, napi_callback_info info);
  Napi::Value Kick(const Napi::CallbackInfo& info);
  Napi::Value Attend(const Napi::CallbackInfo& info);
  Napi::Value RunApart(const Napi::CallbackInfo& info);
  Napi::Value RunPage(const Napi::CallbackInfo& info);
  Napi::Value Times(const Napi::CallbackInfo& info);

  // kvm_vcpu_state.cc: registers and all other state of a vCPU
  static void AddStateMethods(Methods* methods);
  template <unsigned long kRequest>
  Napi::Value PlainIoctl(const Napi::CallbackInfo& info);
  template <unsigned long kRequest, typename Struct>
  Napi::Value StructIoctl(const Napi::CallbackInfo& info);
  template <unsigned long kRequest>
  Napi::Value Msrs(const Napi::CallbackInfo& info);
  Napi::Value SetCpuid2(const Napi::CallbackInfo& info);
  Napi::Value XsaveSize(const Napi::CallbackInfo& info);
  Napi::Value GetXsave(const Napi::CallbackInfo& info);
  Napi::Value SetXsave(const Napi::CallbackInfo& info);
  Napi::Value GetMpState(const Napi::CallbackInfo& info);
  Napi::Value SetMpState(const Napi::CallbackInfo& info);
  Napi::Value Interrupt(const Napi::CallbackInfo& info);
  Napi::Value EnableCap(const Napi::CallbackInfo& info);
  Napi::Value SetTscKhz(const Napi::CallbackInfo& info);
  Napi::Value ReadStats(const Napi::CallbackInfo& info);

  std::shared_ptr<VcpuRunner> runner_;
};

// Reserves a vCPU for one call, so that no two threads use it at the same time.
class VcpuClaim {
 public:
  explicit VcpuClaim(VcpuState* state);
  ~VcpuClaim();
  VcpuClaim(const VcpuClaim&) = delete;
  VcpuClaim& operator=(const VcpuClaim&) = delete;

  // False if another thread uses it: return -EBUSY.
  explicit operator bool() const { return state_ != nullptr; }

 private:
  VcpuState* state_;
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_KVM_VCPU_H_
