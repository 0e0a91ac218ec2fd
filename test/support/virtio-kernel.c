// A Multiboot 1 kernel that drives the first virtio-mmio device, an entropy
// device, with interrupts masked: it polls, and says on COM1 what it saw.
//
// Source: VIRTIO 1.2, 3.1.1, 2.7 and 4.2.2; Multiboot Specification 0.6.96.
//
// The last word of its command line says what it does:
//   registers  prints each word of the window that is not 0
//   astray     offers a queue that lies in the window of the device itself
//   a number   so many requests, the interrupt of each acknowledged

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define WINDOW 0xfeb00000
#define WINDOW_WORDS 1024
#define REGISTER(offset) (*(volatile u32 *)(WINDOW + (offset)))
#define DRIVER_FEATURES_SEL REGISTER(0x24)
#define DRIVER_FEATURES REGISTER(0x20)
#define QUEUE_SEL REGISTER(0x30)
#define QUEUE_NUM REGISTER(0x38)
#define QUEUE_READY REGISTER(0x44)
#define QUEUE_NOTIFY REGISTER(0x50)
#define INTERRUPT_STATUS REGISTER(0x60)
#define INTERRUPT_ACK REGISTER(0x64)
#define STATUS REGISTER(0x70)
#define QUEUE_DESC REGISTER(0x80)
#define QUEUE_DRIVER REGISTER(0x90)
#define QUEUE_DEVICE REGISTER(0xa0)

#define NEEDS_RESET 64
#define DESC_F_WRITE 2
#define QUEUE_SIZE 8
#define REQUEST_BYTES 16

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

static struct {
  u64 address;
  u32 length;
  u16 flags, next;
} descriptors[QUEUE_SIZE] __attribute__((aligned(16)));
static volatile struct {
  u16 flags, index, ring[QUEUE_SIZE];
} available __attribute__((aligned(4)));
static volatile struct {
  u16 flags, index;
  struct {
    u32 id, length;
  } ring[QUEUE_SIZE];
} used __attribute__((aligned(4)));
static u8 buffer[REQUEST_BYTES];

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static void print(const char *text) {
  while (*text) out8(COM1, *text++);
}

static void print_word(const char *name, u32 value) {
  print(name);
  for (int digit = 7; digit >= 0; digit--) out8(COM1, "0123456789abcdef"[(value >> (4 * digit)) & 15]);
  print("\n");
}

static void bring_up(u32 queue) {
  STATUS = 0;
  STATUS = 1;
  STATUS = 3;
  DRIVER_FEATURES_SEL = 1;
  DRIVER_FEATURES = 1;  // VERSION_1, and nothing else: an interrupt for each request
  STATUS = 11;
  QUEUE_SEL = 0;
  QUEUE_NUM = QUEUE_SIZE;
  QUEUE_DESC = queue;
  QUEUE_DRIVER = (u32)&available;
  QUEUE_DEVICE = (u32)&used;
  QUEUE_READY = 1;
  STATUS = 15;
}

static void show_registers(void) {
  char name[] = "000 ";
  for (u32 word = 0; word < WINDOW_WORDS; word++) {
    u32 value = REGISTER(4 * word);
    for (int digit = 0; digit < 3; digit++) name[digit] = "0123456789abcdef"[((4 * word) >> (8 - 4 * digit)) & 15];
    if (value) print_word(name, value);
  }
}

static void request(void) {
  descriptors[0].address = (u32)buffer;
  descriptors[0].length = REQUEST_BYTES;
  descriptors[0].flags = DESC_F_WRITE;
  available.ring[available.index % QUEUE_SIZE] = 0;
  __asm__ volatile("" : : : "memory");
  available.index++;
  QUEUE_NOTIFY = 0;
}

/** A driver that is done with an interrupt when InterruptStatus says so. */
static void serve_interrupt(void) {
  while (!(INTERRUPT_STATUS & 1)) {
  }
  do {
    INTERRUPT_ACK = 1;
  } while (INTERRUPT_STATUS & 1);
}

void kernel_main(const u32 *info) {
  const char *word = (const char *)info[4];
  for (const char *at = word; *at; at++) {
    if (*at == ' ') word = at + 1;
  }
  if (word[0] == 'a') {
    bring_up(WINDOW);
    request();
    while (!(STATUS & NEEDS_RESET)) {
    }
    print_word("status ", STATUS);
    print_word("interrupt ", INTERRUPT_STATUS);
  } else {
    bring_up((u32)descriptors);
    if (word[0] == 'r') show_registers();
    u32 count = 0;
    for (; *word >= '0' && *word <= '9'; word++) count = 10 * count + *word - '0';
    for (u32 done = 0; done < count; done++) {
      request();
      while (used.index != available.index) {
      }
      serve_interrupt();
    }
    print_word("used ", used.index);
  }
  out8(DEBUG_EXIT, 0);
}
