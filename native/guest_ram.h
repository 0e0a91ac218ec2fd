// Guest RAM: memory that a VM, its devices and JavaScript share.

#ifndef VMEXIT_NATIVE_GUEST_RAM_H_
#define VMEXIT_NATIVE_GUEST_RAM_H_

#include <napi.h>

#include <memory>

#include "fd.h"
#include "handle.h"
#include "mapping.h"

namespace vmexit {

struct RamState {
  // The memfd, or the file that the mapping began with; none behind anonymous
  // memory.
  std::shared_ptr<Fd> file;
  // What is written stays in this mapping: the file never changes again.
  bool is_private = false;
  bool huge_pages = false;
  Mapping mapping;
};

class GuestRam : public Handle<GuestRam, RamState> {
 public:
  static constexpr napi_type_tag kTypeTag = {0x766d657869740001,
                                             0x47756573742d5241};

  // Flags of create().
  static constexpr uint32_t kHugeTlb = 1;
  static constexpr uint32_t kAnonymous = 2;

  static Napi::Function Define(Napi::Env env);
  using Handle::Handle;

 private:
  Napi::Value Create(const Napi::CallbackInfo& info);
  Napi::Value MapFile(const Napi::CallbackInfo& info);
  Napi::Value Fork(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);
  Napi::Value View(const Napi::CallbackInfo& info);
  Napi::Value Discard(const Napi::CallbackInfo& info);
  Napi::Value HostAddress(const Napi::CallbackInfo& info);
  Napi::Value Resident(const Napi::CallbackInfo& info);
  Napi::Value Contents(const Napi::CallbackInfo& info);
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_GUEST_RAM_H_
