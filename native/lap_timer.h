// A stop watch for the exit loop.

#ifndef VMEXIT_NATIVE_LAP_TIMER_H_
#define VMEXIT_NATIVE_LAP_TIMER_H_

#include <napi.h>

namespace vmexit {

// lapTimer(): a function lap(), see lap_timer.cc.
Napi::Value LapTimer(const Napi::CallbackInfo& info);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_LAP_TIMER_H_
