// Carries out transfers while the calling thread continues: io_uring, or a pool
// of threads that block. AsyncIo (async_io.h) is the handle over both.

#ifndef VMEXIT_NATIVE_ASYNC_ENGINE_H_
#define VMEXIT_NATIVE_ASYNC_ENGINE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "file_io.h"

namespace vmexit {

// A transfer, flush or erasure. Its AsyncState owns everything that it uses,
// and is destroyed only when nothing is in flight.
struct AsyncRequest {
  enum class Kind { kRead, kWrite, kFlush, kErase };

  uint32_t tag = 0;  // the caller's name for it
  Kind kind = Kind::kRead;
  bool dsync = false;
  int mode = 0;  // of fallocate(2), to erase
  const FileState* file = nullptr;
  std::vector<iovec> parts;
  size_t next = 0;      // parts that have been moved
  uint64_t offset = 0;  // of the first byte that has not
  uint64_t left = 0;    // bytes
  int64_t result = 0;   // bytes moved, or -errno
};

// Not thread-safe: AsyncIo's lock is around every call.
class AsyncEngine {
 public:
  virtual ~AsyncEngine() = default;

  // Queues a request, which must stay at its address until Next() returns it.
  // It may start only with the next Submit().
  virtual void Begin(AsyncRequest* request) = 0;
  // Submits queued requests. 0 or -errno; those that could not be submitted
  // stay queued.
  virtual int Submit() = 0;
  // A completed request, or null.
  virtual AsyncRequest* Next() = 0;
  // Blocks until a request completes; one must be in flight. 0 or -errno.
  virtual int Wait() = 0;
};

// Each makes an engine that signals `event` when requests complete by
// themselves, and never has more than `depth` in flight. 0 or -errno.
int OpenUringEngine(uint32_t depth, int event,
                    std::unique_ptr<AsyncEngine>* engine);
int OpenThreadsEngine(uint32_t depth, int event,
                      std::unique_ptr<AsyncEngine>* engine);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_ASYNC_ENGINE_H_
