// The addon: handles over system calls.
//
// C++ owns file descriptors and mappings, checks every argument, and returns
// like a system call: a result >= 0, or -errno. It knows neither devices nor
// data structures of the guest, and has no policy. Errors become exceptions
// with a sentence in src/sys/errors.ts.
//
// In order of importance: nothing that JavaScript can pass crashes the process;
// no memory is reachable after it was unmapped; no descriptor leaks; then
// speed.
//
// Loaded once in each thread. Nothing is shared between threads but TokenTable
// (handle.h) and what its tokens name.

#include <napi.h>

#include "async_io.h"
#include "event_io.h"
#include "exit_queue.h"
#include "file_io.h"
#include "guest_ram.h"
#include "kvm_layout.h"
#include "kvm_system.h"
#include "kvm_vcpu.h"
#include "kvm_vm.h"
#include "net_io.h"
#include "pty.h"
#include "vhost.h"

namespace vmexit {
namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("KvmSystem", KvmSystem::Define(env));
  exports.Set("KvmVm", KvmVm::Define(env));
  exports.Set("KvmVcpu", KvmVcpu::Define(env));
  exports.Set("GuestRam", GuestRam::Define(env));
  exports.Set("EventFd", EventFd::Define(env));
  exports.Set("Epoll", Epoll::Define(env));
  exports.Set("ExitQueue", ExitQueue::Define(env));
  exports.Set("AsyncIo", AsyncIo::Define(env));
  exports.Set("FileIo", FileIo::Define(env));
  exports.Set("NetIo", NetIo::Define(env));
  exports.Set("Pty", Pty::Define(env));
  exports.Set("Vhost", Vhost::Define(env));
  exports.Set("exchange", Napi::Function::New<&ExchangePaths>(env));
  exports.Set("pingSocket", Napi::Function::New<&PingSocket>(env));
  // Functions, so that only threads that call them build the tables.
  exports.Set("layout",
              Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return KvmLayout(info.Env());
              }));
  exports.Set("constants",
              Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return KvmConstants(info.Env());
              }));
  return exports;
}

NODE_API_MODULE(vmexit, Init)

}  // namespace
}  // namespace vmexit
