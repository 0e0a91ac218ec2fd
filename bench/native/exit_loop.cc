// The exit loop of a monitor written in C++, with which bench/exit compares the
// TypeScript loop.
//
// An addon of its own, so that vmexit's addon has no loop. It runs the vCPU
// that the benchmark made with vmexit, and finds its descriptor by name among
// those of this process.
//
// Source: Linux Documentation/virt/kvm/api.rst, 4.10 (KVM_RUN) and section 5.

#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <node_api.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

constexpr std::string_view kVcpu = "anon_inode:kvm-vcpu:0";

// The descriptor of the process's vCPU 0, or -1.
int FindVcpu() {
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return -1;
  int found = -1;
  while (const dirent* const entry = ::readdir(folder)) {
    char target[64];
    const ssize_t length =
        ::readlinkat(::dirfd(folder), entry->d_name, target, sizeof(target));
    if (length > 0 &&
        std::string_view(target, static_cast<size_t>(length)) == kVcpu) {
      found = std::atoi(entry->d_name);
      break;
    }
  }
  ::closedir(folder);
  return found;
}

// Bytes of struct kvm_run and what follows it, or -1.
int RunPageSize() {
  const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) return -1;
  const int size = ::ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  ::close(kvm);
  return size;
}

// Answers port exits until `count` of them were, or the guest does anything
// else. Reads see all ones; writes go into a sum. Returns how many were
// answered, or -errno.
int64_t Run(int fd, uint8_t* page, size_t page_size, int64_t count) {
  kvm_run* const run = reinterpret_cast<kvm_run*>(page);
  volatile uint32_t sink = 0;
  int64_t done = 0;
  while (done < count) {
    if (::ioctl(fd, KVM_RUN, 0) < 0) return -errno;
    if (run->exit_reason != KVM_EXIT_IO) break;
    // As vmexit has to: the page is shared with JavaScript.
    const uint64_t offset = run->io.data_offset;
    const size_t bytes = size_t{run->io.size} * run->io.count;
    if (offset > page_size || bytes > page_size - offset) return -EFAULT;
    uint8_t* const data = page + offset;
    if (run->io.direction == KVM_EXIT_IO_OUT) {
      for (size_t i = 0; i < bytes; i++) sink = sink + data[i];
    } else {
      for (size_t i = 0; i < bytes; i++) data[i] = 0xff;
    }
    done++;
  }
  return done;
}

struct Vcpu {
  int fd = -1;
  uint8_t* page = nullptr;
  size_t page_size = 0;
};

// run(count): see Run. The vCPU is looked up by the first call.
napi_value RunLoop(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t arguments = 1;
  void* data = nullptr;
  napi_get_cb_info(env, info, &arguments, &argument, nullptr, &data);
  Vcpu& vcpu = *static_cast<Vcpu*>(data);
  int64_t count = 0;
  int64_t result = -EINVAL;
  if (napi_get_value_int64(env, argument, &count) == napi_ok) {
    if (vcpu.page == nullptr) {
      vcpu.fd = FindVcpu();
      vcpu.page_size = static_cast<size_t>(RunPageSize());
      void* const page = ::mmap(nullptr, vcpu.page_size, PROT_READ | PROT_WRITE,
                                MAP_SHARED, vcpu.fd, 0);
      if (page != MAP_FAILED) vcpu.page = static_cast<uint8_t*>(page);
    }
    result = vcpu.page == nullptr
                 ? -ENOENT
                 : Run(vcpu.fd, vcpu.page, vcpu.page_size, count);
  }
  napi_value number;
  napi_create_int64(env, result, &number);
  return number;
}

napi_value Init(napi_env env, napi_value exports) {
  Vcpu* const vcpu = new Vcpu;
  napi_set_instance_data(
      env, vcpu,
      [](napi_env, void* data, void*) { delete static_cast<Vcpu*>(data); },
      nullptr);
  napi_value run;
  napi_create_function(env, "run", NAPI_AUTO_LENGTH, RunLoop, vcpu, &run);
  napi_set_named_property(env, exports, "run", run);
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, Init)
