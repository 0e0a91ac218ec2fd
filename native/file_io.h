// Files and block devices behind a guest's disk.

#ifndef VMEXIT_NATIVE_FILE_IO_H_
#define VMEXIT_NATIVE_FILE_IO_H_

#include <napi.h>

#include <cstdint>

#include "fd.h"
#include "handle.h"

namespace vmexit {

struct FileState {
  Fd fd;
  bool block_device;
  bool direct;
  // On a file system in memory: no transfer waits for a device.
  bool in_memory;
};

class FileIo : public Handle<FileIo, FileState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740007,
                                             0x46696c65496f0000};

  // Flags of open().
  static constexpr uint32_t kReadOnly = 1;
  static constexpr uint32_t kDirect = 2;  // O_DIRECT: without the page cache
  static constexpr uint32_t kCreate = 4;  // must not exist yet

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Open(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);
  Napi::Value Describe(const Napi::CallbackInfo& info);
  Napi::Value Preadv(const Napi::CallbackInfo& info);
  Napi::Value Pwritev(const Napi::CallbackInfo& info);
  Napi::Value Pread(const Napi::CallbackInfo& info);
  Napi::Value Pwrite(const Napi::CallbackInfo& info);
  Napi::Value Fdatasync(const Napi::CallbackInfo& info);
  Napi::Value Discard(const Napi::CallbackInfo& info);
  Napi::Value WriteZeroes(const Napi::CallbackInfo& info);
  Napi::Value Truncate(const Napi::CallbackInfo& info);
  Napi::Value Allocate(const Napi::CallbackInfo& info);
  Napi::Value Data(const Napi::CallbackInfo& info);
  Napi::Value LockByte(const Napi::CallbackInfo& info);
  Napi::Value ByteIsLocked(const Napi::CallbackInfo& info);

  int64_t TransferPairs(const Napi::CallbackInfo& info, bool write, int flags);
};

// exchange(path, other): two names of one file system change places at once.
Napi::Value ExchangePaths(const Napi::CallbackInfo& info);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_FILE_IO_H_
