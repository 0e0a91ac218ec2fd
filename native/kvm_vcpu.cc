// KVM vCPU: its kvm_run page, KVM_RUN, and the kick that makes KVM_RUN return.
//
// Source: Linux Documentation/virt/kvm/api.rst, 4.10 (KVM_RUN) and section 5
// (struct kvm_run, immediate_exit). This file enters the guest and returns
// the exit reason; TypeScript decides what to do about it.

#include "kvm_vcpu.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <mutex>

#include "kvm_api.h"

namespace vmexit {
namespace {

// A real-time signal that neither glibc nor Node uses. Its handler is empty:
// its arrival makes KVM_RUN return.
int KickSignal() { return SIGRTMIN + 2; }

pid_t ThreadId() {
  // Once for each thread: a system call for each exit would be slow.
  thread_local const pid_t id = static_cast<pid_t>(::syscall(SYS_gettid));
  return id;
}

// Prepares this thread for kicks: a handler for the process, and the signal
// unblocked in the thread.
bool ReceiveKicks() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    // No SA_RESTART: the signal ends whatever system call the thread is in.
    ::sigaction(KickSignal(), &action, nullptr);
  });
  sigset_t kick;
  ::sigemptyset(&kick);
  ::sigaddset(&kick, KickSignal());
  return ::pthread_sigmask(SIG_UNBLOCK, &kick, nullptr) == 0;
}

uint8_t* ImmediateExit(const VcpuState& state) {
  return &state.page.as<kvm_run>()->immediate_exit;
}

// Whole ns: exact for the first 104 days of a host, then to 2 ns.
double Monotonic() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
}

// KVM_RUN. kvm_run.exit_reason or -errno.
template <bool kTimed>
int EnterGuest(VcpuState* state) {
  const VcpuClaim claim(state);
  if (!claim) return -EBUSY;
  thread_local const bool receives_kicks = ReceiveKicks();
  if (!receives_kicks) return -EPERM;

  if constexpr (kTimed) {
    state->times[0].store(Monotonic(), std::memory_order_relaxed);
  }
  int failed = 0;
  do {
    failed = ::ioctl(state->fd.get(), KVM_RUN, 0) < 0 ? errno : 0;
    // EAGAIN: a CPU that waited for its start-up IPI has received it.
  } while (failed == EAGAIN);
  if constexpr (kTimed) {
    state->times[1].store(Monotonic(), std::memory_order_relaxed);
  }
  if (failed == EINTR) {
    // Cleared here, before the caller checks the reason: a later kick has a new
    // reason and ends the next run.
    __atomic_store_n(ImmediateExit(*state), 0, __ATOMIC_SEQ_CST);
  }
  if (failed != 0) return -failed;
  return static_cast<int>(state->page.as<kvm_run>()->exit_reason);
}

}  // namespace

// The order pairs with EnterGuest, which first stores its thread, and then the
// kernel reads the flag: one of the two always sees the other.
void KickVcpu(VcpuState* state) {
  __atomic_store_n(ImmediateExit(*state), 1, __ATOMIC_SEQ_CST);
  const pid_t thread = state->user.load();
  // It is harmless if the thread has left KVM_RUN or ended in the meantime: the
  // flag stays for the next one, and the signal alone does nothing.
  if (thread != 0 && thread != ThreadId()) {
    ::syscall(SYS_tgkill, ::getpid(), thread, KickSignal());
  }
}

VcpuClaim::VcpuClaim(VcpuState* state) : state_(state) {
  pid_t nobody = 0;
  if (!state->user.compare_exchange_strong(nobody, ThreadId())) {
    state_ = nullptr;
  }
}

VcpuClaim::~VcpuClaim() {
  if (state_ != nullptr) state_->user.store(0);
}

Napi::Function KvmVcpu::Define(Napi::Env env) {
  Methods methods = {
      InstanceMethod<&KvmVcpu::Runner>("runner"),
      InstanceMethod<&KvmVcpu::Kick>("kick"),
      InstanceMethod<&KvmVcpu::Attend>("attend"),
      InstanceMethod<&KvmVcpu::RunApart>("runApart"),
      InstanceMethod<&KvmVcpu::RunPage>("runPage"),
      InstanceMethod<&KvmVcpu::Times>("times"),
  };
  AddStateMethods(&methods);
  return Handle::Define(env, "KvmVcpu", std::move(methods));
}

Napi::Value KvmVcpu::Close(const Napi::CallbackInfo& info) {
  if (runner_) runner_->state.reset();
  runner_.reset();
  return Handle::Close(info);
}

// runner(timed): a function run() for this vCPU, see Run(). It is a function
// and not a method because it is called for every exit: the call passes the
// state, while a method has to unwrap its object, which takes several times as
// long.
Napi::Value KvmVcpu::Runner(const Napi::CallbackInfo& info) {
  const Napi::Value timed = info[0];
  if (!timed.IsBoolean()) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  if (!runner_) runner_ = std::make_shared<VcpuRunner>(VcpuRunner{state_});
  napi_value function = nullptr;
  if (napi_create_function(info.Env(), "run", NAPI_AUTO_LENGTH,
                           timed.As<Napi::Boolean>() ? Run<true> : Run<false>,
                           runner_.get(), &function) != napi_ok) {
    return Result(info, -ENOMEM);
  }
  // The function may outlive this object.
  auto* const holder = new std::shared_ptr<VcpuRunner>(runner_);
  const auto release = [](napi_env, void*, void* hint) {
    delete static_cast<std::shared_ptr<VcpuRunner>*>(hint);
  };
  if (napi_add_finalizer(info.Env(), function, holder, release, holder,
                         nullptr) != napi_ok) {
    delete holder;
    return Result(info, -ENOMEM);
  }
  return Napi::Value(info.Env(), function);
}

// run() blocks the calling thread in the guest. Returns kvm_run.exit_reason, or
// -EINTR after a kick; the caller then checks why it was kicked. A timed one
// also stores the times, see times(). If the vCPU has run apart, it only
// returns the result of that; -EBUSY if it still does.
template <bool kTimed>
napi_value KvmVcpu::Run(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  VcpuState* const state = static_cast<VcpuRunner*>(data)->state.get();
  int reason = -EBADF;
  if (state != nullptr &&
      !(state->apart && state->apart->TakeResult(&reason))) {
    reason = EnterGuest<kTimed>(state);
  }
  napi_value result = nullptr;
  napi_create_int32(env, reason, &result);
  return result;
}

// kick() makes the current run(), or else the next one, return -EINTR. From any
// thread.
Napi::Value KvmVcpu::Kick(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  KickVcpu(state_.get());
  return Result(info, 0);
}

// attend(queue): the thread that takes from the queue runs this vCPU from now
// on. It is kicked when the queue needs the thread; the next take() ends that.
Napi::Value KvmVcpu::Attend(const Napi::CallbackInfo& info) {
  ExitQueue* const queue = ReadObject<ExitQueue>(info, 0);
  if (queue == nullptr) return Result(info, -EINVAL);
  if (!state_ || !queue->state()) return Result(info, -EBADF);
  queue->state()->Attend(state_);
  return Result(info, 0);
}

// runApart(queue, tag, timed): run() on a thread of the vCPU's own. When it has
// left the guest, the tag is in the queue, and the next run() returns its
// result. One thread at a time, as for run().
Napi::Value KvmVcpu::RunApart(const Napi::CallbackInfo& info) {
  ExitQueue* const queue = ReadObject<ExitQueue>(info, 0);
  uint32_t tag = 0;
  const Napi::Value timed = info[2];
  if (queue == nullptr || !ReadUint32(info, 1, &tag) || !timed.IsBoolean()) {
    return Result(info, -EINVAL);
  }
  if (!state_ || !queue->state()) return Result(info, -EBADF);
  if (!state_->apart) state_->apart = std::make_unique<Apart>(state_.get());
  const Apart::Run run =
      timed.As<Napi::Boolean>() ? EnterGuest<true> : EnterGuest<false>;
  return Result(info, state_->apart->Begin(run, queue->state(), tag));
}

// runPage(): kvm_run and the pages after it, as an ArrayBuffer.
Napi::Value KvmVcpu::RunPage(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return views_.Get(info, state_, state_->page.data(), state_->page.size());
}

// times(): those of VcpuState, as an ArrayBuffer of two doubles.
Napi::Value KvmVcpu::Times(const Napi::CallbackInfo& info) {
  static_assert(sizeof(state_->times) == 2 * sizeof(double));
  if (!state_) return Result(info, -EBADF);
  return views_.Get(info, state_, reinterpret_cast<uint8_t*>(state_->times),
                    sizeof(state_->times));
}

}  // namespace vmexit
