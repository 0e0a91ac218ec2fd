// The start of kernels for one test: a Multiboot 1 header, a stack, and output on COM1.
// `kernel_main` gets the loader's information.
//
// Source: Multiboot Specification 0.6.96.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define COM1 0x3f8
#define DEBUG_EXIT 0xf4

// The header comes first in .text, which comes first in the file.
__asm__(
    ".text\n"
    ".balign 4\n"
    "  .long 0x1BADB002, 3, -(0x1BADB002 + 3)\n"
    ".globl _start\n"
    "_start:\n"
    "  mov $stack_end, %esp\n"
    "  pushl %ebx\n"
    "  call kernel_main\n"
    "  hlt\n");

char stack[4096] __attribute__((aligned(16)));
__asm__(".globl stack_end\nstack_end = stack + 4096\n");

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static void print(const char *text) {
  while (*text) out8(COM1, *text++);
}

static void print_hex(u32 value, int digits) {
  for (int digit = digits - 1; digit >= 0; digit--) out8(COM1, "0123456789abcdef"[(value >> (4 * digit)) & 15]);
}

static void print_word(const char *name, u32 value) {
  print(name);
  print_hex(value, 8);
  print("\n");
}
