// Only in the prebuilt addon (scripts/prebuild.mjs): lets a binary that is
// linked on a newer system load on glibc 2.28. The linker sends each reference
// to NAME, also those of the static libstdc++, to __wrap_NAME.
//
// Functions that moved into libc.so.6 (2.32 to 2.34) are bound to the version
// under which libpthread had them before; newer glibc still has that version.
// The others are replaced by what they stand on.

#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <cstdlib>

#define BOUND_TO(version, name)                                            \
  asm(".symver old_" #name ", " #name "@" version "\n.globl __wrap_" #name \
      "\n.hidden __wrap_" #name "\n.type __wrap_" #name                    \
      ", @function"                                                        \
      "\n__wrap_" #name ": jmp old_" #name "@PLT\n")

BOUND_TO("GLIBC_2.2.5", pthread_attr_setstacksize);
BOUND_TO("GLIBC_2.2.5", pthread_create);
BOUND_TO("GLIBC_2.2.5", pthread_detach);
BOUND_TO("GLIBC_2.2.5", pthread_getspecific);
BOUND_TO("GLIBC_2.2.5", pthread_join);
BOUND_TO("GLIBC_2.2.5", pthread_key_create);
BOUND_TO("GLIBC_2.2.5", pthread_key_delete);
BOUND_TO("GLIBC_2.2.5", pthread_once);
BOUND_TO("GLIBC_2.2.5", pthread_setspecific);
BOUND_TO("GLIBC_2.2.5", pthread_sigmask);
BOUND_TO("GLIBC_2.2.5", __pthread_key_create);
BOUND_TO("GLIBC_2.2.5", __fxstat);

extern "C" {

// 2.32. libstdc++ then uses atomic instructions, as it must: Node has threads.
__attribute__((visibility("hidden"))) char __wrap___libc_single_threaded = 0;

int __wrap___fxstat(int version, int fd, struct stat* status);

// 2.30, for libstdc++'s waits by the steady clock. If the host's time is
// changed meanwhile, such a wait ends earlier or later once.
__attribute__((visibility("hidden"))) int __wrap_pthread_cond_clockwait(
    pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
    const timespec* until) {
  timespec now = {};
  timespec real = {};
  ::clock_gettime(clock, &now);
  ::clock_gettime(CLOCK_REALTIME, &real);
  constexpr int64_t kSecond = 1'000'000'000;
  const int64_t at = (real.tv_sec + until->tv_sec - now.tv_sec) * kSecond +
                     real.tv_nsec + until->tv_nsec - now.tv_nsec;
  const timespec converted = {at / kSecond, at % kSecond};
  return ::pthread_cond_timedwait(condition, mutex, &converted);
}

// 2.33. Before, fstat was a macro over __fxstat; 1 is its version on x86-64.
__attribute__((visibility("hidden"))) int __wrap_fstat(int fd,
                                                       struct stat* status) {
  return __wrap___fxstat(1, fd, status);
}

// 2.35. "Not found" sends the unwinder to dl_iterate_phdr, which all versions
// have.
__attribute__((visibility("hidden"))) int __wrap__dl_find_object(void*, void*) {
  return -1;
}

// 2.36. Of std::random_device, which the addon does not use.
__attribute__((visibility("hidden"))) uint32_t __wrap_arc4random() {
  uint32_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number) std::abort();
  return number;
}

}  // extern "C"
