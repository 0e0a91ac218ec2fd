// vCPUs whose exits wait for one thread that serves several of them.
//
// A thread that serves a vCPU runs it itself for as long as no other vCPU needs
// the thread. The others are in KVM_RUN on threads of their own (Apart), which
// need little memory, and put their tag into the queue when it returns.

#ifndef VMEXIT_NATIVE_EXIT_QUEUE_H_
#define VMEXIT_NATIVE_EXIT_QUEUE_H_

#include <napi.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "handle.h"

namespace vmexit {

struct VcpuState;

using Clock = std::chrono::steady_clock;

class ExitQueueState {
 public:
  explicit ExitQueueState(std::chrono::microseconds share) : share_(share) {}

  // Adds a tag. Returns how many were before it.
  size_t Push(uint32_t tag);
  // Makes take() return kWake next.
  void Wake();
  // The thread runs this vCPU from now on, until it calls Take.
  void Attend(const std::shared_ptr<VcpuState>& vcpu);
  // Makes the thread leave its vCPU, if that has had its share of time.
  void EndShare();
  // The oldest tag, or -EAGAIN after the time; without end if it is negative.
  int64_t Take(int64_t timeout_ms);

  std::chrono::microseconds share() const { return share_; }
  uint32_t* wanted() { return &wanted_; }

 private:
  void Leave();  // with the lock held

  const std::chrono::microseconds share_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<uint32_t> tags_;
  bool woken_ = false;
  std::weak_ptr<VcpuState> current_;
  Clock::time_point since_;
  // 1 if the thread has to leave its vCPU. JavaScript reads it.
  uint32_t wanted_ = 0;
};

class ExitQueue : public Handle<ExitQueue, ExitQueueState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d65786974000b,
                                             0x4578697451756575};

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Create(const Napi::CallbackInfo& info);
  Napi::Value Take(const Napi::CallbackInfo& info);
  Napi::Value Wake(const Napi::CallbackInfo& info);
  Napi::Value Wanted(const Napi::CallbackInfo& info);
};

// A thread with a small stack that makes one KVM_RUN at a time for its vCPU.
class Apart {
 public:
  using Run = int (*)(VcpuState*);

  explicit Apart(VcpuState* vcpu) : vcpu_(vcpu) {}
  // The thread must be outside of KVM_RUN, or about to leave it.
  ~Apart();
  Apart(const Apart&) = delete;
  Apart& operator=(const Apart&) = delete;

  // 0, or -errno: -EBUSY if it runs, or its result was not taken.
  int Begin(Run run, std::shared_ptr<ExitQueueState> queue, uint32_t tag);
  // True if KVM_RUN has returned, once.
  bool TakeResult(int* result);

 private:
  enum class Phase { kIdle, kRuns, kReturned, kEnds };

  void Loop();

  VcpuState* const vcpu_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<Phase> phase_ = Phase::kIdle;
  bool started_ = false;
  pthread_t thread_ = {};
  Run run_ = nullptr;
  std::shared_ptr<ExitQueueState> queue_;
  uint32_t tag_ = 0;
  int result_ = 0;
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_EXIT_QUEUE_H_
