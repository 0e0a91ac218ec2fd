// A kernel struct that ends in an array: kvm_cpuid2, kvm_msrs, kvm_msr_list,
// kvm_irq_routing. Built in memory of our own, because the kernel reads the
// count again and JavaScript's memory may change in between.

#ifndef VMEXIT_NATIVE_COUNTED_H_
#define VMEXIT_NATIVE_COUNTED_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace vmexit {

template <typename Header, typename Entry>
class Counted {
 public:
  // All zero, with room for `count` entries.
  explicit Counted(size_t count)
      : words_((sizeof(Header) + count * sizeof(Entry) + 7) / 8),
        count_(count) {}

  Header* header() { return reinterpret_cast<Header*>(words_.data()); }
  void* entries() {
    return reinterpret_cast<uint8_t*>(words_.data()) + sizeof(Header);
  }

  // Copies entries in or out; both sides have at least `count`.
  void CopyIn(const void* from, size_t count) {
    if (count > 0) std::memcpy(entries(), from, count * sizeof(Entry));
  }
  void CopyOut(void* to, size_t count) {
    if (count > 0) std::memcpy(to, entries(), count * sizeof(Entry));
  }

  size_t count() const { return count_; }

 private:
  std::vector<uint64_t> words_;
  size_t count_;
};

}  // namespace vmexit

#endif  // VMEXIT_NATIVE_COUNTED_H_
