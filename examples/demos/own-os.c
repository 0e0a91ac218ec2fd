// own-os: the beginning of an operating system. It prints on the serial port and on
// the screen, says which machine it runs on, and measures the cost of printing.
//
// Sources: Multiboot Specification 0.6.96, 3.3 (information); National PC16550D
// data sheet, section 8; IBM VGA text mode 3 (80 x 25 cells of two bytes).
//
// It has no interrupts, no paging, no keyboard, and a screen that does not scroll.

#include <stdarg.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static inline u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// The serial port. A UART has registers, and every access to one is an exit.

enum { COM1 = 0x3f8, THR = COM1, DLL = COM1, DLM = COM1 + 1, FCR = COM1 + 2, LCR = COM1 + 3, LSR = COM1 + 5 };
enum { LCR_DLAB = 0x80, LCR_8N1 = 0x03, FCR_ENABLE = 0x01, LSR_THRE = 0x20 };

static void serial_start(void) {
  out8(LCR, LCR_DLAB);  // the first two registers are now the divisor
  out8(DLL, 1);         // 115200 baud; in a guest it has no effect
  out8(DLM, 0);
  out8(LCR, LCR_8N1);
  out8(FCR, FCR_ENABLE);
}

static void serial_put(char c) {
  while (!(in8(LSR) & LSR_THRE)) {  // is there room?
  }
  out8(THR, c);
}

// The screen. Text memory is memory: a store to it is a store.

enum { COLUMNS = 80, ROWS = 25, GREY = 0x07, WHITE_ON_BLUE = 0x1f };

static volatile u16 *const cells = (volatile u16 *)0xb8000;  // low byte: character; high byte: colours
static u32 position;                                         // of the next cell
static u8 colours = GREY;

static void screen_start(void) {
  for (u32 i = 0; i < ROWS * COLUMNS; i++) cells[i] = GREY << 8 | ' ';
}

static void screen_put(char c) {
  if (c == '\n') {
    position += COLUMNS - position % COLUMNS;
  } else {
    cells[position++] = colours << 8 | (u8)c;
  }
  if (position >= ROWS * COLUMNS) position = 0;  // a full screen starts again at the top
}

static void put(char c) {
  serial_put(c);
  screen_put(c);
}

static void put_number(u32 value, u32 base) {
  if (value >= base) put_number(value / base, base);
  put("0123456789abcdef"[value % base]);
}

/** Knows %s, %u and %x. */
static void print(const char *text, ...) {
  va_list arguments;
  va_start(arguments, text);
  for (; *text; text++) {
    if (*text != '%') {
      put(*text);
      continue;
    }
    switch (*++text) {
      case 's':
        for (const char *s = va_arg(arguments, const char *); *s; s++) put(*s);
        break;
      case 'u':
        put_number(va_arg(arguments, u32), 10);
        break;
      case 'x':
        put_number(va_arg(arguments, u32), 16);
    }
  }
  va_end(arguments);
}

// The loader's information in memory (3.3), as far as it is used here.

enum { LOADER_MAGIC = 0x2badb002, HAS_CMDLINE = 1 << 2, HAS_MMAP = 1 << 6, AVAILABLE = 1 };

struct information {
  u32 flags, mem_lower, mem_upper, boot_device;
  const char *cmdline;
  u32 mods_count, mods_addr, syms[4], mmap_length;
  const char *mmap;
};

struct range {
  u32 size;  // of what follows
  u64 base, length;
  u32 type;
} __attribute__((packed));

static void print_memory(const struct information *info) {
  const char *at = info->mmap;
  while (at < info->mmap + info->mmap_length) {
    const struct range *range = (const struct range *)at;
    print("memory   0x%x: %u KiB %s\n", (u32)range->base, (u32)(range->length >> 10),
          range->type == AVAILABLE ? "to use" : "reserved");
    at += sizeof range->size + range->size;
  }
}

static void print_cpu(void) {
  u32 name[4] = {0}, leaf = 0x40000000, cr0;  // the first leaf that is reserved for hypervisors
  __asm__("cpuid" : "+a"(leaf), "=b"(name[0]), "=c"(name[1]), "=d"(name[2]));
  __asm__("mov %%cr0, %0" : "=r"(cr0));
  print("cpu      hypervisor %s, CR0 0x%x\n", (const char *)name, cr0);
}

/** The time stamp counter's low half: enough for differences of some seconds. */
static u32 cycles(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return low;
}

/** The cycles that a line of dots takes. @param put_on prints a character on one of the two */
static u32 cost(void (*put_on)(char)) {
  const u32 start = cycles();
  for (u32 i = 0; i < COLUMNS - 1; i++) put_on('.');
  put_on('\n');
  return cycles() - start;
}

/** The result becomes the machine's exit status: 0 if a Multiboot loader started the kernel. */
u32 kernel_main(u32 magic, const struct information *info) {
  serial_start();
  screen_start();
  colours = WHITE_ON_BLUE;
  print("own-os: a kernel of my own\n");
  colours = GREY;
  if (magic != LOADER_MAGIC) return 1;
  if (info->flags & HAS_CMDLINE) print("started  %s\n", info->cmdline);
  print_cpu();
  if (info->flags & HAS_MMAP) print_memory(info);
  const u32 serial = cost(serial_put), screen = cost(screen_put);
  print("%u characters: serial port %u cycles, screen %u cycles\n", COLUMNS, serial, screen);
  return 0;
}
