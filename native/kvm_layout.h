// The KVM structs and constants as the compiler sees them.

#ifndef VMEXIT_NATIVE_KVM_LAYOUT_H_
#define VMEXIT_NATIVE_KVM_LAYOUT_H_

#include <napi.h>

namespace vmexit {

// { kvm_run: { sizeof, exit_reason, ... }, ... }: sizes and offsets in bytes.
Napi::Object KvmLayout(Napi::Env env);

// { KVM_EXIT_IO, ... }.
Napi::Object KvmConstants(Napi::Env env);

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_KVM_LAYOUT_H_
