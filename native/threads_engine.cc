// Transfers by threads that block: for hosts where io_uring is not permitted,
// and on request.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "async_engine.h"
#include "transfer.h"

namespace vmexit {
namespace {

// Calls that block at the same time, at most. Threads start when they are
// needed.
constexpr size_t kMaxThreads = 16;

class ThreadsEngine : public AsyncEngine {
 public:
  explicit ThreadsEngine(int event) : event_(event) {}

  ~ThreadsEngine() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void Begin(AsyncRequest* request) override { taken_.push_back(request); }

  int Submit() override {
    if (taken_.empty()) return 0;
    size_t more = 0;
    {
      const std::lock_guard lock(mutex_);
      waiting_.insert(waiting_.end(), taken_.begin(), taken_.end());
      const size_t wanted =
          waiting_.size() > idle_ ? waiting_.size() - idle_ : 0;
      more = std::min(wanted, kMaxThreads - threads_.size());
    }
    taken_.clear();
    for (; more > 0; more--) threads_.emplace_back([this] { Work(); });
    work_.notify_all();
    return 0;
  }

  AsyncRequest* Next() override {
    const std::lock_guard lock(mutex_);
    if (done_.empty()) return nullptr;
    AsyncRequest* const request = done_.front();
    done_.pop_front();
    return request;
  }

  int Wait() override {
    Submit();
    std::unique_lock lock(mutex_);
    completed_.wait(lock, [this] { return !done_.empty(); });
    return 0;
  }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      idle_++;
      work_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
      idle_--;
      if (waiting_.empty()) return;
      AsyncRequest* const request = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      request->result = Run(request);
      lock.lock();
      done_.push_back(request);
      completed_.notify_one();
      if (done_.size() == 1) Ring();
    }
  }

  static int64_t Run(AsyncRequest* request) {
    const int fd = request->file->fd.get();
    if (request->kind == AsyncRequest::Kind::kFlush)
      return Sys(::fdatasync(fd));
    if (request->kind == AsyncRequest::Kind::kErase)
      return Sys(::fallocate(fd, request->mode,
                             static_cast<off_t>(request->offset),
                             static_cast<off_t>(request->left)));
    const bool write = request->kind == AsyncRequest::Kind::kWrite;
    const Transfer transfer = {fd, write, request->dsync ? RWF_DSYNC : 0};
    const int64_t before = request->result;
    int64_t moved = 0;
    for (size_t i = request->next; i < request->parts.size(); i += kMaxParts) {
      const size_t count = std::min(request->parts.size() - i, kMaxParts);
      size_t wanted = 0;
      for (size_t n = i; n < i + count; n++)
        wanted += request->parts[n].iov_len;
      const int64_t some =
          TransferAll(transfer, request->parts.data() + i, count,
                      request->offset + static_cast<uint64_t>(moved));
      if (some < 0) return some;
      moved += some;
      if (static_cast<size_t>(some) < wanted) break;
    }
    return before + moved;
  }

  void Ring() const {
    const uint64_t one = 1;
    // A full counter is signalled anyway.
    [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof(one));
  }

  const int event_;
  std::vector<AsyncRequest*> taken_;  // not submitted
  std::vector<std::thread> threads_;
  std::mutex mutex_;  // guards all members below
  std::condition_variable work_;
  std::condition_variable completed_;
  std::deque<AsyncRequest*> waiting_;
  std::deque<AsyncRequest*> done_;
  size_t idle_ = 0;
  bool ending_ = false;
};

}  // namespace

int OpenThreadsEngine(uint32_t, int event,
                      std::unique_ptr<AsyncEngine>* engine) {
  *engine = std::make_unique<ThreadsEngine>(event);
  return 0;
}

}  // namespace vmexit
