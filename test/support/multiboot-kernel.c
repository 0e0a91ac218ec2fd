// A Multiboot 1 kernel: prints its loader's information on COM1, checks the state
// of the machine, and ends it through isa-debug-exit.
//
// Source: Multiboot Specification 0.6.96, 3.1 to 3.3. It loads a GDT of its own
// and a stack first, as the specification requires. Built with -DADDRESSES it is a
// flat file whose header says where to load it, else an ELF file. With "wait" at
// the end of its command line it waits for a byte on COM1 before it ends.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define HEADER_MAGIC 0x1BADB002
#define LOADER_MAGIC 0x2BADB002
#define LOAD_ADDRESS 0x100000

#ifdef ADDRESSES
#define HEADER_FLAGS 0x10003
#else
#define HEADER_FLAGS 0x3  // modules on pages, memory information
#endif

#define COM1 0x3f8
#define LSR (COM1 + 5)
#define LSR_DR 0x01
#define LSR_THRE 0x20
#define DEBUG_EXIT 0xf4

// Info flags.
#define HAS_MEMORY (1 << 0)
#define HAS_CMDLINE (1 << 2)
#define HAS_MODS (1 << 3)
#define HAS_MMAP (1 << 6)
#define HAS_LOADER_NAME (1 << 9)

#define CR0_PE (1u << 0)
#define CR0_PG (1u << 31)
#define EFLAGS_IF (1u << 9)
#define EFLAGS_VM (1u << 17)

struct info {
  u32 flags, mem_lower, mem_upper, boot_device;
  const char *cmdline;
  u32 mods_count;
  const struct module *mods;
  u32 syms[4];
  u32 mmap_length;
  const struct range *mmap;
  u32 drives_length, drives_addr, config_table;
  const char *boot_loader_name;
};

struct module {
  const char *start, *end, *string;
  u32 reserved;
};

struct range {
  u32 size;  // of what follows
  u64 base, length;
  u32 type;
} __attribute__((packed));

#define STRING(x) STRING_(x)
#define STRING_(x) #x

// The header comes first in .text, which comes first in the file.
__asm__(
    ".text\n"
    ".balign 4\n"
    "header:\n"
    "  .long " STRING(HEADER_MAGIC) ", " STRING(HEADER_FLAGS) "\n"
    "  .long -(" STRING(HEADER_MAGIC) " + " STRING(HEADER_FLAGS) ")\n"
    "  .long header, " STRING(LOAD_ADDRESS) ", _edata, _end, _start\n"
    ".globl _start\n"
    "_start:\n"
    "  mov $stack_end, %esp\n"
    "  pushl %ebx\n"
    "  pushl %eax\n"
    "  lgdt gdt_pointer\n"
    "  ljmp $0x08, $1f\n"
    "1: mov $0x10, %eax\n"
    "  mov %eax, %ds\n"
    "  mov %eax, %es\n"
    "  mov %eax, %ss\n"
    "  call kernel_main\n"
    "  hlt\n"
    ".balign 8\n"
    "gdt: .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff\n"
    "gdt_pointer: .word 23\n"
    "  .long gdt\n");

char stack[4096] __attribute__((aligned(16)));
__asm__(".globl stack_end\nstack_end = stack + 4096\n");

static volatile u32 data_word = 0x12345678;  // .data: was it loaded?
static volatile u32 bss_words[40000];        // .bss: is it zero?

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void put(char c) {
  while (!(in8(LSR) & LSR_THRE)) {
  }
  out8(COM1, c);
}

static void print(const char *text) {
  while (*text) put(*text++);
}

static void print_hex(u64 value, int digits) {
  while (digits-- > 0) put("0123456789abcdef"[(u32)(value >> (4 * digits)) & 15]);
}

static void print_word(const char *name, u32 value) {
  print(name);
  print_hex(value, 8);
  put('\n');
}

static void print_map(const struct info *info) {
  const char *at = (const char *)info->mmap, *end = at + info->mmap_length;
  while (at < end) {
    const struct range *range = (const struct range *)at;
    print("range ");
    print_hex(range->base, 16);
    put(' ');
    print_hex(range->length, 16);
    put(' ');
    print_hex(range->type, 1);
    put('\n');
    at += range->size + sizeof range->size;
  }
}

static void print_module(const struct module *module) {
  print("module ");
  print(module->string);
  print((u32)module->start % 4096 ? " askew: " : ": ");
  for (const char *at = module->start; at < module->end; at++) put(*at);
  put('\n');
}

/** The value for the debug-exit port: 0 if everything is as the specification says. */
static u8 check_machine(void) {
  u32 cr0, eflags, bss = 0;
  __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
  __asm__ volatile("pushfl; popl %0" : "=r"(eflags));
  if (!(cr0 & CR0_PE) || (cr0 & CR0_PG)) return 1;
  if (eflags & (EFLAGS_IF | EFLAGS_VM)) return 2;
  if (data_word != 0x12345678) return 3;
  for (u32 i = 0; i < 40000; i += 99) bss |= bss_words[i];
  if (bss) return 4;
  data_word = bss_words[0] = 1;  // to detect a start without loading again
  // With address line 20 off, these two would be the same byte.
  volatile u32 *low = (u32 *)0x80000, *high = (u32 *)0x180000;
  *low = 1;
  *high = 2;
  return *low == 1 ? 0 : 5;
}

static int ends_with_wait(const char *text) {
  const char *end = text;
  while (*end) end++;
  return end - text >= 4 && end[-4] == 'w' && end[-3] == 'a' && end[-2] == 'i' && end[-1] == 't';
}

void kernel_main(u32 magic, const struct info *info) {
  print_word("magic ", magic);
  print_word("flags ", info->flags);
  if (info->flags & HAS_LOADER_NAME) print("loader "), print(info->boot_loader_name), put('\n');
  if (info->flags & HAS_CMDLINE) print("cmdline "), print(info->cmdline), put('\n');
  if (info->flags & HAS_MEMORY) {
    print_word("lower ", info->mem_lower);
    print_word("upper ", info->mem_upper);
  }
  if (info->flags & HAS_MMAP) print_map(info);
  if (info->flags & HAS_MODS) {
    for (u32 i = 0; i < info->mods_count; i++) print_module(&info->mods[i]);
  }
  const u8 status = magic == LOADER_MAGIC ? check_machine() : 6;
  print("done\n");
  while (ends_with_wait(info->cmdline) && !(in8(LSR) & LSR_DR)) {
  }
  out8(DEBUG_EXIT, status);
}
