// Transfers by io_uring: a batch of requests is one system call. Transfers from
// the page cache have completed when the call returns.
//
// The system calls are made directly. We would use a tenth of liburing, and
// building the addon would require it.
//
// Source: io_uring_setup(2), io_uring_enter(2), io_uring_register(2),
// <linux/io_uring.h>. Needs IORING_FEAT_SINGLE_MMAP and _SUBMIT_STABLE
// (Linux 5.5), and for IORING_CQ_EVENTFD_DISABLED Linux 5.8; without them, as
// where io_uring is not permitted, -errno.

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "async_engine.h"
#include "mapping.h"
#include "transfer.h"

namespace vmexit {
namespace {

int Enter(int fd, unsigned submit, unsigned wait, unsigned flags) {
  const long result =
      ::syscall(__NR_io_uring_enter, fd, submit, wait, flags, nullptr, 0);
  return result < 0 ? -errno : static_cast<int>(result);
}

uint32_t Acquire(const uint32_t* word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void Release(uint32_t* word, uint32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

// Bytes of one transfer without a vector; the kernel moves no more at once.
constexpr size_t kMaxLength = size_t{1} << 30;

class UringEngine : public AsyncEngine {
 public:
  UringEngine(Fd ring, Mapping rings, Mapping entries,
              const io_uring_params& params)
      : ring_(std::move(ring)),
        rings_(std::move(rings)),
        entries_(std::move(entries)),
        sq_head_(Word(params.sq_off.head)),
        sq_tail_(Word(params.sq_off.tail)),
        sq_mask_(*Word(params.sq_off.ring_mask)),
        sq_size_(params.sq_entries),
        cq_head_(Word(params.cq_off.head)),
        cq_tail_(Word(params.cq_off.tail)),
        cq_flags_(Word(params.cq_off.flags)),
        cq_mask_(*Word(params.cq_off.ring_mask)),
        completions_(reinterpret_cast<const io_uring_cqe*>(
            rings_.data() + params.cq_off.cqes)) {
    uint32_t* const array = Word(params.sq_off.array);
    for (uint32_t i = 0; i < sq_size_; i++) array[i] = i;
  }

  void Begin(AsyncRequest* request) override { waiting_.push_back(request); }

  // Requests that complete during the submission do not signal the event: the
  // caller checks for them.
  int Submit() override {
    Ring(false);
    const int result = SubmitAll();
    Ring(true);
    return result;
  }

  // Finds all completed requests. A short one is submitted again, and may
  // complete at once, without a signal.
  AsyncRequest* Next() override {
    for (;;) {
      while (*cq_head_ != Acquire(cq_tail_)) {
        const uint32_t head = *cq_head_;
        const io_uring_cqe& completion = completions_[head & cq_mask_];
        auto* const request =
            reinterpret_cast<AsyncRequest*>(completion.user_data);
        const int result = completion.res;
        Release(cq_head_, head + 1);
        if (Take(request, result)) return request;
        waiting_.push_back(request);
      }
      if (waiting_.empty() && *sq_tail_ == Acquire(sq_head_)) return nullptr;
      // If the kernel has no room for it, requests in flight will signal later.
      Submit();
      if (*cq_head_ == Acquire(cq_tail_)) return nullptr;
    }
  }

  int Wait() override {
    while (*cq_head_ == Acquire(cq_tail_)) {
      Fill();
      const uint32_t ready = *sq_tail_ - Acquire(sq_head_);
      const int result = Enter(ring_.get(), ready, 1, IORING_ENTER_GETEVENTS);
      if (result < 0 && result != -EINTR && result != -EAGAIN &&
          result != -EBUSY) {
        return result;
      }
    }
    return 0;
  }

 private:
  int SubmitAll() {
    for (;;) {
      Fill();
      const uint32_t ready = *sq_tail_ - Acquire(sq_head_);
      if (ready == 0) return 0;
      const int result = Enter(ring_.get(), ready, 0, 0);
      if (result == -EINTR) continue;
      // Out of resources for now: requests in flight will free some.
      if (result == -EAGAIN || result == -EBUSY) return 0;
      if (result < 0) return result;
      if (waiting_.empty()) return 0;
    }
  }

  void Ring(bool on) {
    // Visible before the ring is read again: requests that have completed are
    // found there.
    __atomic_store_n(cq_flags_, on ? 0 : IORING_CQ_EVENTFD_DISABLED,
                     __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
  }

  uint32_t* Word(uint32_t offset) const {
    return reinterpret_cast<uint32_t*>(rings_.data() + offset);
  }

  // Moves waiting requests into the submission ring, as far as it has room.
  void Fill() {
    uint32_t tail = *sq_tail_;
    while (!waiting_.empty() && tail - Acquire(sq_head_) < sq_size_) {
      Describe(*waiting_.front(), &SubmissionAt(tail));
      waiting_.pop_front();
      tail++;
    }
    Release(sq_tail_, tail);
  }

  io_uring_sqe& SubmissionAt(uint32_t index) const {
    return entries_.as<io_uring_sqe>()[index & sq_mask_];
  }

  static void Describe(AsyncRequest& request, io_uring_sqe* entry) {
    *entry = {};
    entry->fd = request.file->fd.get();
    entry->user_data = reinterpret_cast<uint64_t>(&request);
    if (request.kind == AsyncRequest::Kind::kFlush) {
      entry->opcode = IORING_OP_FSYNC;
      entry->fsync_flags = IORING_FSYNC_DATASYNC;
      return;
    }
    if (request.kind == AsyncRequest::Kind::kErase) {
      entry->opcode = IORING_OP_FALLOCATE;
      entry->off = request.offset;
      entry->addr = request.left;
      entry->len = static_cast<uint32_t>(request.mode);
      return;
    }
    const bool write = request.kind == AsyncRequest::Kind::kWrite;
    entry->off = request.offset;
    entry->rw_flags = request.dsync ? RWF_DSYNC : 0;
    const iovec* const parts = request.parts.data() + request.next;
    const size_t count = request.parts.size() - request.next;
    if (count == 1 && parts->iov_len <= kMaxLength) {
      // Most have one part, and then the kernel has no vector to copy.
      entry->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
      entry->addr = reinterpret_cast<uint64_t>(parts->iov_base);
      entry->len = static_cast<uint32_t>(parts->iov_len);
      return;
    }
    entry->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
    entry->addr = reinterpret_cast<uint64_t>(parts);
    entry->len = static_cast<uint32_t>(std::min(count, kMaxParts));
  }

  // Records the kernel's result of a request. False if it has to continue.
  static bool Take(AsyncRequest* request, int result) {
    if (result == -EINTR || result == -EAGAIN) return false;
    // O_DIRECT stopped at the end of a file that is not aligned there.
    if (result == -EINVAL && request->result > 0) return true;
    if (result < 0) {
      request->result = result;
      return true;
    }
    if (request->kind == AsyncRequest::Kind::kFlush ||
        request->kind == AsyncRequest::Kind::kErase) {
      return true;
    }
    const auto moved = static_cast<uint64_t>(result);
    request->next += SkipParts(request->parts.data() + request->next,
                               request->parts.size() - request->next, moved);
    request->offset += moved;
    request->left -= moved;
    request->result += result;
    // Nothing was moved, although bytes are left: the end of the file.
    return request->left == 0 || result == 0;
  }

  const Fd ring_;
  const Mapping rings_;
  const Mapping entries_;
  // The kernel writes sq_head_ and cq_tail_, we write the other two.
  const uint32_t* const sq_head_;
  uint32_t* const sq_tail_;
  const uint32_t sq_mask_;
  const uint32_t sq_size_;
  uint32_t* const cq_head_;
  const uint32_t* const cq_tail_;
  uint32_t* const cq_flags_;
  const uint32_t cq_mask_;
  const io_uring_cqe* const completions_;
  // Queued, and not in the ring yet.
  std::deque<AsyncRequest*> waiting_;
};

bool Map(int fd, uint64_t offset, size_t size, Mapping* mapping) {
  void* const data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
             fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return false;
  *mapping = Mapping(data, size);
  return true;
}

}  // namespace

int OpenUringEngine(uint32_t depth, int event,
                    std::unique_ptr<AsyncEngine>* engine) {
  io_uring_params params = {};
  // The completion ring has room for every request, so none gets lost.
  constexpr uint32_t kBatch = 128;
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = std::max(2 * depth, kBatch);
  const long result = ::syscall(__NR_io_uring_setup, kBatch, &params);
  if (result < 0) return -errno;
  Fd ring(static_cast<int>(result));
  constexpr uint32_t kNeeded =
      IORING_FEAT_SINGLE_MMAP | IORING_FEAT_SUBMIT_STABLE;
  if ((params.features & kNeeded) != kNeeded || params.cq_off.flags == 0) {
    return -ENOSYS;
  }

  const size_t rings_size =
      std::max(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
               params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  Mapping rings;
  Mapping entries;
  if (!Map(ring.get(), IORING_OFF_SQ_RING, rings_size, &rings) ||
      !Map(ring.get(), IORING_OFF_SQES,
           params.sq_entries * sizeof(io_uring_sqe), &entries)) {
    return -errno;
  }
  // Not _EVENTFD_ASYNC, which signals requests that io_uring's own threads
  // complete, but not those that an interrupt completes: O_DIRECT.
  if (::syscall(__NR_io_uring_register, ring.get(), IORING_REGISTER_EVENTFD,
                &event, 1) < 0) {
    return -errno;
  }
  *engine = std::make_unique<UringEngine>(std::move(ring), std::move(rings),
                                          std::move(entries), params);
  return 0;
}

}  // namespace vmexit
