// A PC's firmware that prints what the machine has, on COM1: PCI configuration space, CMOS,
// fw_cfg with its files, ports, and CPUID, as they are at the reset vector. pc-dump.ts makes a
// ROM of it, which QEMU and vmexit start.
//
// Source: PCI Local Bus 3.0, 3.2.2.3.2 (configuration mechanism 1); QEMU docs/specs/fw_cfg.rst.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define COM1 0x3f8
#define LSR_THRE 0x20
#define DEBUG_EXIT 0xf4
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA 0x511
#define FILE_DIRECTORY 0x19
#define MOST_FILES 32
#define MOST_BYTES 8192  // of a file: what follows is room for more tables
#define LINE 32

// It comes first in .text, which comes first in the file.
__asm__(
    ".text\n"
    ".globl _start\n"
    "_start:\n"
    "  mov $0x10, %eax\n"
    "  mov %eax, %ds\n"
    "  mov %eax, %es\n"
    "  mov %eax, %ss\n"
    "  mov $0x8000, %esp\n"
    "  call run\n"
    "  hlt\n");

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static u32 in32(u16 port) {
  u32 value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void put(char byte) {
  while (!(in8(COM1 + 5) & LSR_THRE)) {
  }
  out8(COM1, byte);
}

static void print(const char *text) {
  while (*text) put(*text++);
}

static void hex(u32 value, int digits) {
  for (int digit = digits - 1; digit >= 0; digit--) {
    u32 nibble = (value >> (4 * digit)) & 15;
    put(nibble < 10 ? '0' + nibble : 'a' + nibble - 10);
  }
}

static void field(const char *name, u32 value, int digits) {
  print(name);
  hex(value, digits);
}

/** Words of configuration space that are not zero. */
static void dump_pci(void) {
  for (u32 device = 0; device < 32; device++) {
    for (u32 fn = 0; fn < 8; fn++) {
      u32 base = 0x80000000 | device << 11 | fn << 8;
      out32(CONFIG_ADDRESS, base);
      if (in32(CONFIG_DATA) == 0xffffffff) continue;
      for (u32 at = 0; at < 256; at += 4) {
        out32(CONFIG_ADDRESS, base | at);
        u32 word = in32(CONFIG_DATA);
        if (word == 0) continue;
        field("pci ", device, 2);
        field(".", fn, 1);
        field(" ", at, 2);
        field(" = ", word, 8);
        put('\n');
      }
    }
  }
}

/** Bytes that are not zero, without those of the time, and the flags of what has happened meanwhile. */
static void dump_cmos(void) {
  for (u32 at = 0x0a; at < 0x80; at++) {
    out8(0x70, at);
    u8 byte = in8(0x71);
    if (byte == 0 || at == 0x0c || at == 0x32 || at == 0x37) continue;
    field("cmos ", at, 2);
    field(" = ", byte, 2);
    put('\n');
  }
}

static void select(u16 key) { out16(FW_CFG_SELECT, key); }

static u32 big(int bytes) {
  u32 value = 0;
  while (bytes-- > 0) value = value << 8 | in8(FW_CFG_DATA);
  return value;
}

static void dump_key(u16 key, int bytes) {
  select(key);
  field("fw_cfg ", key, 4);
  print(" = ");
  for (int n = 0; n < bytes; n++) hex(in8(FW_CFG_DATA), 2);
  put('\n');
}

static void dump_file(u16 key, u32 size, const char *name) {
  print("file ");
  print(name);
  field(" bytes = ", size, 8);
  put('\n');
  if (name[0] == 'g') return;  // option ROMs
  select(key);
  for (u32 at = 0; at < size && at < MOST_BYTES; at += LINE) {
    print("data ");
    print(name);
    field(" ", at, 4);
    print(" = ");
    for (u32 n = at; n < size && n < at + LINE; n++) hex(in8(FW_CFG_DATA), 2);
    put('\n');
  }
}

static void dump_fw_cfg(void) {
  const u16 keys[] = {0x00, 0x01, 0x03, 0x04, 0x05, 0x0c, 0x0d, 0x0e, 0x0f, 0x8000, 0x8001, 0x8002, 0x8003, 0x8004};
  for (u32 n = 0; n < sizeof(keys) / sizeof(*keys); n++) dump_key(keys[n], 8);
  for (u32 n = 0; n < MOST_FILES; n++) {
    char name[56];
    select(FILE_DIRECTORY);
    u32 count = big(4);
    if (n >= count) break;
    for (u32 skip = 0; skip < 64 * n; skip++) in8(FW_CFG_DATA);
    u32 size = big(4);
    u16 key = big(2);
    big(2);
    for (u32 at = 0; at < sizeof(name); at++) name[at] = in8(FW_CFG_DATA);
    dump_file(key, size, name);
  }
}

static void dump_ports(void) {
  const u16 ports[] = {0x21, 0xa1, 0x61, 0x64, 0x70, 0x92, 0xb2, 0xb3, 0x4d0, 0x4d1, 0xcf9};
  for (u32 n = 0; n < sizeof(ports) / sizeof(*ports); n++) {
    field("port ", ports[n], 4);
    field(" = ", in8(ports[n]) & (ports[n] == 0x61 ? 0x0f : 0xff), 2);  // the PIT's output and its refresh
    put('\n');
  }
}

static void dump_cpuid(u32 leaf, u32 sub) {
  u32 a, b, c, d;
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(sub));
  field("cpuid ", leaf, 8);
  field(".", sub, 1);
  field(" eax = ", a, 8);
  put('\n');
  const u32 rest[] = {b, c, d};
  for (u32 n = 0; n < 3; n++) {
    field("cpuid ", leaf, 8);
    field(".", sub, 1);
    print(" e");
    put("bcd"[n]);
    field("x = ", rest[n], 8);
    put('\n');
  }
}

void run(void) {
  dump_pci();
  dump_cmos();
  dump_ports();
  dump_fw_cfg();
  for (u32 leaf = 0; leaf <= 2; leaf++) dump_cpuid(leaf, 0);
  for (u32 sub = 0; sub < 4; sub++) dump_cpuid(4, sub);
  dump_cpuid(0x40000000, 0);
  for (u32 leaf = 0x80000000; leaf <= 0x80000004; leaf++) dump_cpuid(leaf, 0);
  dump_cpuid(0x80000008, 0);
  print("end\n");
  out8(DEBUG_EXIT, 0);
}
