// Checks the arguments of JavaScript, and makes results.
//
// Every Read function returns false, and does not change its output, unless the
// argument has exactly the required type; callers answer that with -EINVAL.
// Nothing is coerced, so no JavaScript runs between reading one argument and
// the next, and no handle can be closed while a method uses it.
//
// An array may be in shared memory: other threads can change its elements at
// any time. Read each element once into a local, check the local, use the
// local.

#ifndef VMEXIT_NATIVE_ARGS_H_
#define VMEXIT_NATIVE_ARGS_H_

#include <napi.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

namespace vmexit {

// Numbers are exact in JavaScript up to here.
inline constexpr uint64_t kMaxInteger = uint64_t{1} << 53;

// A result >= 0, or -errno.
inline Napi::Value Result(const Napi::CallbackInfo& info, int64_t result) {
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

// The result of a system call, or -errno if it is -1.
inline int64_t Sys(int64_t result) { return result < 0 ? -errno : result; }

// Converts any number without undefined behaviour.
inline bool ToInteger(double number, uint64_t max, uint64_t* out) {
  if (!(number >= 0 && number <= static_cast<double>(kMaxInteger))) {
    return false;
  }
  const auto integer = static_cast<int64_t>(number);
  if (static_cast<double>(integer) != number) return false;
  if (static_cast<uint64_t>(integer) > max) return false;
  *out = static_cast<uint64_t>(integer);
  return true;
}

inline bool ReadUint64(const Napi::CallbackInfo& info, size_t index,
                       uint64_t max, uint64_t* out) {
  double number = 0;  // fails for anything that is not a number
  return napi_get_value_double(info.Env(), info[index], &number) == napi_ok &&
         ToInteger(number, max, out);
}

inline bool ReadUint64(const Napi::CallbackInfo& info, size_t index,
                       uint64_t* out) {
  return ReadUint64(info, index, kMaxInteger, out);
}

inline bool ReadUint32(const Napi::CallbackInfo& info, size_t index,
                       uint32_t* out) {
  uint64_t value = 0;
  if (!ReadUint64(info, index, std::numeric_limits<uint32_t>::max(), &value)) {
    return false;
  }
  *out = static_cast<uint32_t>(value);
  return true;
}

// Elements of a typed array; none if its buffer is detached.
template <typename T>
struct Span {
  T* data = nullptr;
  size_t length = 0;  // in elements
  size_t bytes() const { return length * sizeof(T); }
};

template <typename T>
inline bool ReadArray(const Napi::CallbackInfo& info, size_t index,
                      napi_typedarray_type wanted, Span<T>* out) {
  napi_typedarray_type type = wanted;
  size_t length = 0;
  void* data = nullptr;  // fails for anything that is not a typed array
  if (napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data,
                               nullptr, nullptr) != napi_ok) {
    return false;
  }
  if (type != wanted) return false;
  out->data = static_cast<T*>(data);
  out->length = data == nullptr ? 0 : length;
  return true;
}

inline bool ReadBytes(const Napi::CallbackInfo& info, size_t index,
                      Span<uint8_t>* out) {
  return ReadArray(info, index, napi_uint8_array, out);
}

// At least `size` bytes, for one struct of the kernel.
inline bool ReadStruct(const Napi::CallbackInfo& info, size_t index,
                       size_t size, uint8_t** out) {
  Span<uint8_t> bytes;
  if (!ReadBytes(info, index, &bytes) || bytes.length < size) return false;
  *out = bytes.data;
  return true;
}

inline bool ReadWords(const Napi::CallbackInfo& info, size_t index,
                      Span<uint32_t>* out) {
  return ReadArray(info, index, napi_uint32_array, out);
}

inline bool ReadDoubles(const Napi::CallbackInfo& info, size_t index,
                        Span<double>* out) {
  return ReadArray(info, index, napi_float64_array, out);
}

// A file name: a string that is not empty and has no NUL.
inline bool ReadPath(const Napi::CallbackInfo& info, size_t index,
                     std::string* out) {
  const Napi::Value value = info[index];
  if (!value.IsString()) return false;
  std::string path = value.As<Napi::String>().Utf8Value();
  if (path.empty() || path.find('\0') != std::string::npos) return false;
  *out = std::move(path);
  return true;
}

// An object of one of our classes. The tag distinguishes it from every other
// wrapped object, of ours or of another addon.
template <typename T>
inline T* ReadObject(const Napi::CallbackInfo& info, size_t index) {
  const Napi::Value value = info[index];
  if (!value.IsObject()) return nullptr;
  const Napi::Object object = value.As<Napi::Object>();
  if (!object.CheckTypeTag(&T::kTypeTag)) return nullptr;
  return T::Unwrap(object);
}

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_ARGS_H_
