// Transfers, flushes and erasures that do not block. For guest RAM only: a
// buffer of JavaScript could be freed while the kernel writes to it.

#include "async_io.h"

#include <linux/falloc.h>

#include <algorithm>

#include "transfer.h"

namespace vmexit {
namespace {

constexpr uint32_t kMaxDepth = 16384;

}  // namespace

AsyncState::AsyncState(std::shared_ptr<EventFdState> event,
                       std::shared_ptr<RamState> ram, uint32_t depth)
    : event_(std::move(event)), ram_(std::move(ram)), requests_(depth) {
  free_.reserve(depth);
  for (AsyncRequest& request : requests_) free_.push_back(&request);
}

AsyncState::~AsyncState() {
  if (engine == nullptr) return;
  while (in_flight > 0 && engine->Wait() >= 0) {
    while (AsyncRequest* const request = engine->Next()) Release(request);
  }
}

uint32_t AsyncState::AddFile(std::shared_ptr<FileState> file) {
  files_.push_back(std::move(file));
  return static_cast<uint32_t>(files_.size() - 1);
}

const FileState* AsyncState::File(uint32_t number) const {
  return number < files_.size() ? files_[number].get() : nullptr;
}

AsyncRequest* AsyncState::Take() {
  if (free_.empty()) return nullptr;
  AsyncRequest* const request = free_.back();
  free_.pop_back();
  in_flight++;
  return request;
}

void AsyncState::Release(AsyncRequest* request) {
  free_.push_back(request);
  in_flight--;
}

Napi::Function AsyncIo::Define(Napi::Env env) {
  return Handle::Define(
      env, "AsyncIo",
      {
          InstanceMethod<&AsyncIo::Create>("create"),
          InstanceMethod<&AsyncIo::AddFile>("addFile"),
          InstanceMethod<&AsyncIo::Read>("read"),
          InstanceMethod<&AsyncIo::ReadCached>("readCached"),
          InstanceMethod<&AsyncIo::Write>("write"),
          InstanceMethod<&AsyncIo::WriteCached>("writeCached"),
          InstanceMethod<&AsyncIo::WriteThrough>("writeThrough"),
          InstanceMethod<&AsyncIo::Flush>("flush"),
          InstanceMethod<&AsyncIo::Discard>("discard"),
          InstanceMethod<&AsyncIo::WriteZeroes>("writeZeroes"),
          InstanceMethod<&AsyncIo::Submit>("submit"),
          InstanceMethod<&AsyncIo::Reap>("reap"),
          InstanceMethod<&AsyncIo::Wait>("wait"),
      });
}

// create(kind, depth, event, ram): `depth` requests at a time, between files
// and `ram`; the event is signalled when some complete by themselves. -EPERM or
// -ENOSYS where io_uring may not be used.
Napi::Value AsyncIo::Create(const Napi::CallbackInfo& info) {
  uint32_t kind = 0;
  uint32_t depth = 0;
  EventFd* const event = ReadObject<EventFd>(info, 2);
  GuestRam* const ram = ReadObject<GuestRam>(info, 3);
  if (!ReadUint32(info, 0, &kind) || kind > kThreads ||
      !ReadUint32(info, 1, &depth) || depth == 0 || depth > kMaxDepth ||
      event == nullptr || ram == nullptr) {
    return Result(info, -EINVAL);
  }
  if (state_) return Result(info, -EBUSY);
  if (!event->state() || !ram->state()) return Result(info, -EBADF);
  auto state =
      std::make_shared<AsyncState>(event->state(), ram->state(), depth);
  const int fd = event->state()->fd.get();
  const int failed = kind == kUring
                         ? OpenUringEngine(depth, fd, &state->engine)
                         : OpenThreadsEngine(depth, fd, &state->engine);
  if (failed < 0) return Result(info, failed);
  state_ = std::move(state);
  return Result(info, 0);
}

// addFile(file): returns a number by which requests name the file, which stays
// open until this handle closes.
Napi::Value AsyncIo::AddFile(const Napi::CallbackInfo& info) {
  FileIo* const file = ReadObject<FileIo>(info, 0);
  if (file == nullptr) return Result(info, -EINVAL);
  if (!state_ || !file->state()) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  return Result(info, state_->AddFile(file->state()));
}

// The work of read and write: (tag, file, pairs, first, count, offset), `file`
// a number from addFile. If `cached`, data in the page cache is moved at once:
// it is only a copy, and one system call is the cheapest way to get it. Returns
// the number of bytes if all of them were moved at once: then the request has
// completed and will not be reaped. Otherwise 0. -EAGAIN if `depth` requests
// are in flight; -EFAULT if a pair is not all within the memory.
int64_t AsyncIo::BeginTransfer(const Napi::CallbackInfo& info, bool write,
                               bool dsync, bool cached) {
  uint32_t tag = 0;
  uint32_t number = 0;
  Span<double> pairs;
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t offset = 0;
  if (!ReadUint32(info, 0, &tag) || !ReadUint32(info, 1, &number) ||
      !ReadDoubles(info, 2, &pairs) || !ReadUint64(info, 3, &first) ||
      !ReadUint64(info, 4, &count) || !ReadUint64(info, 5, &offset)) {
    return -EINVAL;
  }
  const uint64_t available = pairs.length / 2;
  if (first > available || count > available - first) return -EINVAL;
  if (!state_) return -EBADF;
  const std::lock_guard lock(state_->mutex);
  const FileState* const file = state_->File(number);
  if (file == nullptr) return -EBADF;
  AsyncRequest* const request = state_->Take();
  if (request == nullptr) return -EAGAIN;
  const Mapping& mapping = state_->memory();
  size_t bytes = 0;
  request->parts.resize(count);
  if (!FillParts({mapping.data(), mapping.size()}, pairs.data + 2 * first,
                 count, request->parts.data(), &bytes)) {
    state_->Release(request);
    return -EFAULT;
  }
  request->tag = tag;
  request->kind =
      write ? AsyncRequest::Kind::kWrite : AsyncRequest::Kind::kRead;
  request->dsync = dsync;
  request->file = file;
  request->next = 0;
  request->offset = offset;
  request->left = bytes;
  request->result = 0;
  if (cached && !file->direct) {
    const Transfer transfer = {file->fd.get(), write, 0};
    const int64_t moved = TransferNow(transfer, request->parts.data(), count,
                                      offset, file->in_memory);
    if (moved > 0) {
      if (static_cast<size_t>(moved) == bytes) {
        state_->Release(request);
        return moved;
      }
      const auto done = static_cast<size_t>(moved);
      request->next = SkipParts(request->parts.data(), count, done);
      request->offset += done;
      request->left -= done;
      request->result = moved;
    }
    // An error is not lost: the engine will meet it again.
  }
  state_->engine->Begin(request);
  return 0;
}

// read(tag, file, pairs, first, count, offset): as FileIo.preadv.
Napi::Value AsyncIo::Read(const Napi::CallbackInfo& info) {
  return Result(info, BeginTransfer(info, false, false, false));
}

// readCached(…): as read; tries the page cache first.
Napi::Value AsyncIo::ReadCached(const Napi::CallbackInfo& info) {
  return Result(info, BeginTransfer(info, false, false, true));
}

// write(tag, file, pairs, first, count, offset): as FileIo.pwritev.
Napi::Value AsyncIo::Write(const Napi::CallbackInfo& info) {
  return Result(info, BeginTransfer(info, true, false, false));
}

// writeCached(…): as write; tries the page cache first.
Napi::Value AsyncIo::WriteCached(const Napi::CallbackInfo& info) {
  return Result(info, BeginTransfer(info, true, false, true));
}

// writeThrough(…): as write, and completes when it is on stable storage.
Napi::Value AsyncIo::WriteThrough(const Napi::CallbackInfo& info) {
  return Result(info, BeginTransfer(info, true, true, false));
}

// flush(tag, file): as FileIo.fdatasync, for requests that completed before.
Napi::Value AsyncIo::Flush(const Napi::CallbackInfo& info) {
  uint32_t tag = 0;
  uint32_t number = 0;
  if (!ReadUint32(info, 0, &tag) || !ReadUint32(info, 1, &number)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  const FileState* const file = state_->File(number);
  if (file == nullptr) return Result(info, -EBADF);
  AsyncRequest* const request = state_->Take();
  if (request == nullptr) return Result(info, -EAGAIN);
  request->tag = tag;
  request->kind = AsyncRequest::Kind::kFlush;
  request->file = file;
  request->result = 0;
  state_->engine->Begin(request);
  return Result(info, 0);
}

// The work of discard and writeZeroes: (tag, file, offset, length). Only for
// regular files: -EINVAL for a device, which has calls of its own for both.
int64_t AsyncIo::BeginErasure(const Napi::CallbackInfo& info, int mode) {
  uint32_t tag = 0;
  uint32_t number = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!ReadUint32(info, 0, &tag) || !ReadUint32(info, 1, &number) ||
      !ReadUint64(info, 2, &offset) || !ReadUint64(info, 3, &length)) {
    return -EINVAL;
  }
  if (!state_) return -EBADF;
  const std::lock_guard lock(state_->mutex);
  const FileState* const file = state_->File(number);
  if (file == nullptr) return -EBADF;
  if (file->block_device) return -EINVAL;
  AsyncRequest* const request = state_->Take();
  if (request == nullptr) return -EAGAIN;
  request->tag = tag;
  request->kind = AsyncRequest::Kind::kErase;
  request->mode = mode | FALLOC_FL_KEEP_SIZE;
  request->file = file;
  request->offset = offset;
  request->left = length;
  request->result = 0;
  state_->engine->Begin(request);
  return 0;
}

// discard(tag, file, offset, length): as FileIo.discard.
Napi::Value AsyncIo::Discard(const Napi::CallbackInfo& info) {
  return Result(info, BeginErasure(info, FALLOC_FL_PUNCH_HOLE));
}

// writeZeroes(tag, file, offset, length, unmap): as FileIo.writeZeroes.
Napi::Value AsyncIo::WriteZeroes(const Napi::CallbackInfo& info) {
  const Napi::Value unmap = info[4];
  if (!unmap.IsBoolean()) return Result(info, -EINVAL);
  return Result(info, BeginErasure(info, unmap.As<Napi::Boolean>()
                                             ? FALLOC_FL_PUNCH_HOLE
                                             : FALLOC_FL_ZERO_RANGE));
}

// submit(): submits the requests since the last call.
Napi::Value AsyncIo::Submit(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  return Result(info, state_->engine->Submit());
}

// reap(tags, results): takes completed requests, as many as fit. Results are
// bytes moved, fewer than requested only at the end of the file, or -errno.
// Returns how many.
Napi::Value AsyncIo::Reap(const Napi::CallbackInfo& info) {
  Span<uint32_t> tags;
  Span<double> results;
  if (!ReadWords(info, 0, &tags) || !ReadDoubles(info, 1, &results)) {
    return Result(info, -EINVAL);
  }
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  const size_t most = std::min(tags.length, results.length);
  size_t count = 0;
  while (count < most) {
    AsyncRequest* const request = state_->engine->Next();
    if (request == nullptr) break;
    tags.data[count] = request->tag;
    results.data[count] = static_cast<double>(request->result);
    count++;
    state_->Release(request);
  }
  return Result(info, static_cast<int64_t>(count));
}

// wait(): submits, and blocks until a request completes; returns 0 at once if
// none is in flight.
Napi::Value AsyncIo::Wait(const Napi::CallbackInfo& info) {
  if (!state_) return Result(info, -EBADF);
  const std::lock_guard lock(state_->mutex);
  if (state_->in_flight == 0) return Result(info, 0);
  return Result(info, state_->engine->Wait());
}

}  // namespace vmexit
