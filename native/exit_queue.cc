// vCPUs whose exits wait for one thread that serves several of them.

#include "exit_queue.h"

#include <signal.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "kvm_vcpu.h"

namespace vmexit {
namespace {

// What take() returns after wake(): no vCPU has this tag.
constexpr uint32_t kWake = std::numeric_limits<uint32_t>::max();

// KVM_RUN needs little; the rest is for the C library.
constexpr size_t kStackBytes = size_t{64} << 10;

constexpr uint64_t kMaxShareUs = 1'000'000;

}  // namespace

size_t ExitQueueState::Push(uint32_t tag) {
  const std::lock_guard lock(mutex_);
  const size_t before = tags_.size();
  tags_.push_back(tag);
  changed_.notify_one();
  return before;
}

void ExitQueueState::Wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  Leave();
  changed_.notify_one();
}

void ExitQueueState::Attend(const std::shared_ptr<VcpuState>& vcpu) {
  const std::lock_guard lock(mutex_);
  current_ = vcpu;
  since_ = Clock::now();
  if (woken_) Leave();
}

void ExitQueueState::EndShare() {
  const std::lock_guard lock(mutex_);
  if (Clock::now() - since_ >= share_) Leave();
}

void ExitQueueState::Leave() {
  const std::shared_ptr<VcpuState> vcpu = current_.lock();
  if (!vcpu) return;
  __atomic_store_n(&wanted_, 1, __ATOMIC_SEQ_CST);
  KickVcpu(vcpu.get());
}

int64_t ExitQueueState::Take(int64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  current_.reset();
  __atomic_store_n(&wanted_, 0, __ATOMIC_SEQ_CST);
  const auto ready = [this] { return woken_ || !tags_.empty(); };
  if (timeout_ms < 0) {
    changed_.wait(lock, ready);
  } else if (!changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                ready)) {
    return -EAGAIN;
  }
  if (woken_) {
    woken_ = false;
    return kWake;
  }
  const uint32_t tag = tags_.front();
  tags_.pop_front();
  return tag;
}

Napi::Function ExitQueue::Define(Napi::Env env) {
  return Handle::Define(env, "ExitQueue",
                        {
                            InstanceMethod<&ExitQueue::Create>("create"),
                            InstanceMethod<&ExitQueue::Take>("take"),
                            InstanceMethod<&ExitQueue::Wake>("wake"),
                            InstanceMethod<&ExitQueue::Wanted>("wanted"),
                        });
}

// create(shareUs): how long a vCPU may keep the thread while others wait.
Napi::Value ExitQueue::Create(const Napi::CallbackInfo& info) {
  uint64_t share = 0;
  if (!ReadUint64(info, 0, kMaxShareUs, &share)) return Result(info, -EINVAL);
  if (state_) return Result(info, -EBUSY);
  state_ = std::make_shared<ExitQueueState>(std::chrono::microseconds(share));
  return Result(info, 0);
}

// take(timeoutMs) blocks the calling thread until a vCPU has exited, for ever
// if the time is -1. Returns its tag; 2^32 - 1 after wake(); -EAGAIN after the
// time.
Napi::Value ExitQueue::Take(const Napi::CallbackInfo& info) {
  double number = 0;
  uint64_t timeout = 0;
  if (napi_get_value_double(info.Env(), info[0], &number) != napi_ok) {
    return Result(info, -EINVAL);
  }
  const bool ends = ToInteger(number, INT32_MAX, &timeout);
  if (!ends && number != -1) return Result(info, -EINVAL);
  if (!state_) return Result(info, -EBADF);
  const std::shared_ptr<ExitQueueState> state = state_;
  return Result(info, state->Take(ends ? static_cast<int64_t>(timeout) : -1));
}

// wake() makes take() return, and the vCPU that the thread runs leave the
// guest. From any thread.
Napi::Value ExitQueue::Wake(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  state_->Wake();
  return Result(info, 0);
}

// wanted(): an ArrayBuffer of one word, which is 1 while the thread has to
// leave the vCPU that it runs.
Napi::Value ExitQueue::Wanted(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  return views_.Get(info, state_, reinterpret_cast<uint8_t*>(state_->wanted()),
                    sizeof(uint32_t));
}

Apart::~Apart() {
  {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::kEnds;
    changed_.notify_one();
  }
  if (!started_) return;
  KickVcpu(vcpu_);
  ::pthread_join(thread_, nullptr);
}

int Apart::Begin(Run run, std::shared_ptr<ExitQueueState> queue, uint32_t tag) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kIdle) return -EBUSY;
  if (!started_) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, kStackBytes);
    // No signal of the process runs its handler there.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = ::pthread_create(
        &thread_, &attributes,
        [](void* self) -> void* {
          static_cast<Apart*>(self)->Loop();
          return nullptr;
        },
        this);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::pthread_attr_destroy(&attributes);
    if (failed != 0) return -failed;
    started_ = true;
  }
  run_ = run;
  queue_ = std::move(queue);
  tag_ = tag;
  phase_ = Phase::kRuns;
  changed_.notify_one();
  return 0;
}

bool Apart::TakeResult(int* result) {
  if (phase_ != Phase::kReturned)
    return false;  // the usual case, for each exit
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kReturned) return false;
  *result = result_;
  phase_ = Phase::kIdle;
  changed_.notify_one();
  return true;
}

void Apart::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] {
      return phase_ == Phase::kRuns || phase_ == Phase::kEnds;
    });
    if (phase_ == Phase::kEnds) return;
    lock.unlock();
    const int result = run_(vcpu_);
    lock.lock();
    if (phase_ == Phase::kEnds) return;
    result_ = result;
    phase_ = Phase::kReturned;
    const std::shared_ptr<ExitQueueState> queue = queue_;
    // Who waits at the end of a long queue need not check often.
    const auto patience =
        queue->share() * static_cast<int64_t>(queue->Push(tag_) + 1);
    queue->EndShare();
    while (phase_ == Phase::kReturned) {
      if (changed_.wait_for(lock, patience) == std::cv_status::timeout) {
        queue->EndShare();
      }
    }
  }
}

}  // namespace vmexit
