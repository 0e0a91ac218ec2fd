// Transfers, flushes and erasures that do not block: submitted in batches,
// reaped when they have completed.

#ifndef VMEXIT_NATIVE_ASYNC_IO_H_
#define VMEXIT_NATIVE_ASYNC_IO_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "async_engine.h"
#include "event_io.h"
#include "guest_ram.h"
#include "handle.h"

namespace vmexit {

// Owns the requests, the files and the memory that they name. Destroyed only
// when no request is in flight, because the kernel writes to that memory.
class AsyncState {
 public:
  AsyncState(std::shared_ptr<EventFdState> event, std::shared_ptr<RamState> ram,
             uint32_t depth);
  ~AsyncState();

  // Guards every call, because handles of several threads may name this.
  std::mutex mutex;
  std::unique_ptr<AsyncEngine> engine;
  size_t in_flight = 0;

  const Mapping& memory() const { return ram_->mapping; }
  // A number by which requests name a file.
  uint32_t AddFile(std::shared_ptr<FileState> file);
  // Null if no file has the number.
  const FileState* File(uint32_t number) const;

  // A free request, or null if `depth` are in flight.
  AsyncRequest* Take();
  void Release(AsyncRequest* request);

 private:
  const std::shared_ptr<EventFdState> event_;
  const std::shared_ptr<RamState> ram_;
  std::vector<std::shared_ptr<FileState>> files_;
  std::vector<AsyncRequest> requests_;
  std::vector<AsyncRequest*> free_;
};

class AsyncIo : public Handle<AsyncIo, AsyncState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740009,
                                             0x4173796e63496f00};

  // Kinds of create().
  static constexpr uint32_t kUring = 0;
  static constexpr uint32_t kThreads = 1;

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Create(const Napi::CallbackInfo& info);
  Napi::Value AddFile(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value ReadCached(const Napi::CallbackInfo& info);
  Napi::Value Write(const Napi::CallbackInfo& info);
  Napi::Value WriteCached(const Napi::CallbackInfo& info);
  Napi::Value WriteThrough(const Napi::CallbackInfo& info);
  Napi::Value Flush(const Napi::CallbackInfo& info);
  Napi::Value Discard(const Napi::CallbackInfo& info);
  Napi::Value WriteZeroes(const Napi::CallbackInfo& info);
  Napi::Value Submit(const Napi::CallbackInfo& info);
  Napi::Value Reap(const Napi::CallbackInfo& info);
  Napi::Value Wait(const Napi::CallbackInfo& info);

  int64_t BeginTransfer(const Napi::CallbackInfo& info, bool write, bool dsync,
                        bool cached);
  int64_t BeginErasure(const Napi::CallbackInfo& info, int mode);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_ASYNC_IO_H_
