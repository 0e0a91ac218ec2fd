// The base of all classes: an object of JavaScript, and behind it a state
// (descriptor, mapping) that several objects may share.
//
// Every thread needs its own JavaScript object for the same descriptor. One
// object returns a token, a plain number that can be posted to another thread;
// there, an unopened object of the same class attaches to it. The state is
// destroyed with its last object: closing one object never closes a descriptor
// that another thread uses.

#ifndef VMEXIT_NATIVE_HANDLE_H_
#define VMEXIT_NATIVE_HANDLE_H_

#include <napi.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "args.h"

namespace vmexit {

// Finds a state by its token, in any thread.
class TokenTable {
 public:
  // The only static object of the addon: the threads of a process share only
  // process-wide memory. Never destroyed, because threads may outlive the
  // process's static destructors.
  static TokenTable& Instance() {
    static TokenTable& table = *new TokenTable;
    return table;
  }

  // The token of a state; the same for as long as the state lives.
  uint64_t Put(const void* type, const std::shared_ptr<void>& state) {
    const std::lock_guard lock(mutex_);
    for (const auto& [token, entry] : entries_) {
      if (entry.state.lock() == state) return token;
    }
    std::erase_if(entries_,
                  [](const auto& pair) { return pair.second.state.expired(); });
    const uint64_t token = ++last_;
    entries_.emplace(token, Entry{type, state});
    return token;
  }

  // Null if no state of that type has the token, or it was destroyed.
  std::shared_ptr<void> Find(const void* type, uint64_t token) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(token);
    if (found == entries_.end() || found->second.type != type) return nullptr;
    return found->second.state.lock();
  }

 private:
  struct Entry {
    const void* type;
    std::weak_ptr<void> state;
  };

  std::mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_;
  uint64_t last_ = 0;
};

// The ArrayBuffers over a mapping that one object returned to JavaScript.
//
// Each keeps the mapping's owner alive until V8 frees its backing store, so no
// script can access unmapped memory. Closing the object detaches them: a
// detached ArrayBuffer has length 0, and its backing store and the mapping are
// freed in one of the next turns of the event loop.
//
// V8 counts their bytes as memory that a garbage collection could free, and
// begins one when 64 MiB were added. They are not garbage of JavaScript's, so
// each is subtracted as soon as it was added, and added before it is detached.
// Not so from Node 23 on: Node detaches what is left when a thread ends, and
// the V8 of these versions ends the process when its count falls below zero.
class Views {
 public:
  // An ArrayBuffer over `length` bytes at `data`, the same object for the same
  // bytes; or -errno.
  Napi::Value Get(const Napi::CallbackInfo& info, std::shared_ptr<void> owner,
                  uint8_t* data, size_t length) {
    const Napi::Env env = info.Env();
    std::erase_if(views_, [](View& view) {
      return view.buffer.Value().IsEmpty() || view.buffer.Value().IsDetached();
    });
    for (View& view : views_) {
      if (view.data == data && view.length == length) {
        return view.buffer.Value();
      }
    }
    auto* holder = new Holder{std::move(owner), 0};
    napi_value buffer = nullptr;
    const napi_status status = napi_create_external_arraybuffer(
        env, data, length,
        [](napi_env env, void*, void* hint) {
          auto* holder = static_cast<Holder*>(hint);
          Count(env, holder->subtracted);
          delete holder;
        },
        holder, &buffer);
    if (status != napi_ok) {
      // Only in this case it is certain that the finalizer will run; otherwise
      // the mapping stays, which is harmless.
      if (status == napi_no_external_buffers_allowed) delete holder;
      napi_value ignored = nullptr;
      napi_get_and_clear_last_exception(env, &ignored);
      return Result(info, -ENOMEM);
    }
    if (MaySubtract(env)) holder->subtracted = static_cast<int64_t>(length);
    Count(env, -holder->subtracted);
    Napi::ArrayBuffer result(env, buffer);
    views_.push_back({data, length, holder, Napi::Weak(result)});
    return result;
  }

  void DetachAll() {
    for (View& view : views_) {
      Napi::ArrayBuffer buffer = view.buffer.Value();
      if (buffer.IsEmpty() || buffer.IsDetached()) continue;
      Count(buffer.Env(), view.holder->subtracted);
      view.holder->subtracted = 0;
      buffer.Detach();
    }
    views_.clear();
  }

 private:
  struct Holder {
    std::shared_ptr<void> owner;
    // What of the view's bytes is subtracted from V8's count.
    int64_t subtracted;
  };

  struct View {
    uint8_t* data;
    size_t length;
    // Valid as long as the buffer.
    Holder* holder;
    Napi::Reference<Napi::ArrayBuffer> buffer;
  };

  static void Count(napi_env env, int64_t bytes) {
    int64_t ignored = 0;
    if (bytes != 0) napi_adjust_external_memory(env, bytes, &ignored);
  }

  static bool MaySubtract(napi_env env) {
    constexpr uint32_t kFirstThatChecks = 23;
    const napi_node_version* version = nullptr;
    return napi_get_node_version(env, &version) == napi_ok &&
           version->major < kFirstThatChecks;
  }

  std::vector<View> views_;
};

// Base of the classes. `Self` has a public kTypeTag; `State` owns what is open.
template <typename Self, typename State>
class Handle : public Napi::ObjectWrap<Self> {
 public:
  explicit Handle(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Self>(info) {
    info.This().As<Napi::Object>().TypeTag(&Self::kTypeTag);
  }

  // Null while nothing is open.
  const std::shared_ptr<State>& state() const { return state_; }

  // Takes the state that a factory opened (KvmSystem.createVm fills a KvmVm).
  void Adopt(std::shared_ptr<State> state) { state_ = std::move(state); }

  // Releases the state. -EBADF if nothing is open.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (!state_) return Result(info, -EBADF);
    views_.DetachAll();
    state_.reset();
    return Result(info, 0);
  }

  // A number that names the state in every thread. -EBADF if nothing is open.
  Napi::Value Token(const Napi::CallbackInfo& info) {
    if (!state_) return Result(info, -EBADF);
    const uint64_t token = TokenTable::Instance().Put(&Self::kTypeTag, state_);
    return Result(info, static_cast<int64_t>(token));
  }

  // Shares the state of another object. -EBUSY if something is open here,
  // -ENOENT if the token names no open state of this class.
  Napi::Value Attach(const Napi::CallbackInfo& info) {
    uint64_t token = 0;
    if (!ReadUint64(info, 0, &token)) return Result(info, -EINVAL);
    if (state_) return Result(info, -EBUSY);
    state_ = std::static_pointer_cast<State>(
        TokenTable::Instance().Find(&Self::kTypeTag, token));
    return Result(info, state_ ? 0 : -ENOENT);
  }

 protected:
  using Methods = std::vector<Napi::ClassPropertyDescriptor<Self>>;

  // The class, with the methods that all have.
  static Napi::Function Define(Napi::Env env, const char* name,
                               Methods methods) {
    methods.push_back(Self::InstanceMethod("close", &Self::Close));
    methods.push_back(Self::InstanceMethod("token", &Self::Token));
    methods.push_back(Self::InstanceMethod("attach", &Self::Attach));
    return Self::DefineClass(env, name, methods);
  }

  std::shared_ptr<State> state_;
  Views views_;
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_HANDLE_H_
