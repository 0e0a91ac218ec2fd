// A stop watch for the exit loop: CLOCK_MONOTONIC (clock_gettime(2)) in ns,
// without an object for each reading, which performance.now() and
// process.hrtime() need.

#include "lap_timer.h"

#include <time.h>

#include <cstdint>

#include "args.h"

namespace vmexit {
namespace {

struct Watch {
  int64_t last = 0;
};

int64_t Nanoseconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// lap(): ns since the call before; of the first call, since the clock began.
napi_value Lap(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  Watch* const watch = static_cast<Watch*>(data);
  const int64_t now = Nanoseconds();
  napi_value result = nullptr;
  // Below 2^31 V8 makes no object of it.
  napi_create_int64(env, now - watch->last, &result);
  watch->last = now;
  return result;
}

}  // namespace

Napi::Value LapTimer(const Napi::CallbackInfo& info) {
  auto* const watch = new Watch;
  napi_value function = nullptr;
  if (napi_create_function(info.Env(), "lap", NAPI_AUTO_LENGTH, Lap, watch,
                           &function) != napi_ok) {
    delete watch;
    return Result(info, -ENOMEM);
  }
  const auto release = [](napi_env, void* data, void*) {
    delete static_cast<Watch*>(data);
  };
  if (napi_add_finalizer(info.Env(), function, watch, release, nullptr,
                         nullptr) != napi_ok) {
    return Result(info, -ENOMEM);  // the function still points to it
  }
  return Napi::Value(info.Env(), function);
}

}  // namespace vmexit
