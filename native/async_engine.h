// What carries out transfers while their thread goes on: io_uring, or a pool of
// threads that block in its place. AsyncIo (async_io.h) is the handle over
// either.

#ifndef VMEXIT_NATIVE_ASYNC_ENGINE_H_
#define VMEXIT_NATIVE_ASYNC_ENGINE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "file_io.h"

namespace vmexit {

// A transfer or flush that was begun. What it uses is held by its AsyncState,
// which goes only when nothing is under way.
struct AsyncRequest {
  enum class Kind { kRead, kWrite, kFlush };

  uint32_t tag = 0;  // the caller's name for it
  Kind kind = Kind::kRead;
  bool dsync = false;
  const FileState* file = nullptr;
  std::vector<iovec> parts;
  size_t next = 0;      // parts that are moved
  uint64_t offset = 0;  // of the first byte that is not
  uint64_t left = 0;    // bytes
  int64_t result = 0;   // bytes moved, or -errno
};

// Not thread-safe: AsyncIo's lock is around every call.
class AsyncEngine {
 public:
  virtual ~AsyncEngine() = default;

  // Takes a request, which stays where it is until Next() gives it back. It may
  // be begun only with the next Submit().
  virtual void Begin(AsyncRequest* request) = 0;
  // Begins what was taken. 0 or -errno; what could not be begun is kept.
  virtual int Submit() = 0;
  // One that is over, or null.
  virtual AsyncRequest* Next() = 0;
  // Blocks until one is over; there must be one under way. 0 or -errno.
  virtual int Wait() = 0;
};

// Each makes an engine that rings `event` when requests end by themselves, and
// is never given more than `depth` at a time. 0 or -errno.
int OpenUringEngine(uint32_t depth, int event,
                    std::unique_ptr<AsyncEngine>* engine);
int OpenThreadsEngine(uint32_t depth, int event,
                      std::unique_ptr<AsyncEngine>* engine);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_ASYNC_ENGINE_H_
