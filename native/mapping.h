// An owned memory mapping.

#ifndef VMEXIT_NATIVE_MAPPING_H_
#define VMEXIT_NATIVE_MAPPING_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace vmexit {

// Moving transfers the mapping; destruction unmaps it.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* data, size_t size)
      : data_(static_cast<uint8_t*>(data)), size_(size) {}
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      Reset();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Mapping() { Reset(); }

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool valid() const { return data_ != nullptr; }

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

  // True if `length` bytes at `offset` are inside. Accepts any numbers.
  bool Contains(uint64_t offset, uint64_t length) const {
    return offset <= size_ && length <= size_ - offset;
  }

 private:
  void Reset() {
    if (data_ != nullptr) ::munmap(data_, size_);
    data_ = nullptr;
    size_ = 0;
  }

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_MAPPING_H_
