// Writes what QEMU passes to KVM_SET_CPUID2, of each vCPU, to the file that
// CPUID_LOG names. record.mjs loads it into QEMU by LD_PRELOAD.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const char* path = getenv("CPUID_LOG");
  if (request == KVM_SET_CPUID2 && path != NULL) {
    FILE* log = fopen(path, "a");
    const struct kvm_cpuid2* cpuid = argument;
    fprintf(log, "cpu\n");
    for (unsigned i = 0; i < cpuid->nent; i++) {
      const struct kvm_cpuid_entry2* e = &cpuid->entries[i];
      fprintf(log, "%x %x %08x %08x %08x %08x\n", e->function,
              e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX ? e->index : 0, e->eax,
              e->ebx, e->ecx, e->edx);
    }
    fclose(log);
  }
  int (*real)(int, unsigned long, void*) = dlsym(RTLD_NEXT, "ioctl");
  return real(fd, request, argument);
}
