// A Multiboot 1 kernel for a PC: finds a virtio entropy device on PCI bus 0, and
// makes requests through its modern or its legacy interface, before and after it
// moves the BAR. It polls, with interrupts masked; the local APIC shows which
// message came.
//
// The last word of its command line selects its work:
//   modern   by BAR 4, by messages
//   line     by BAR 4, by the interrupt line
//   legacy   by BAR 0, which are ports, by the interrupt line
//   window   brings the device up without a BAR
//   between  as modern, and waits for a byte from COM1 between two requests
//
// Source: PCI Local Bus 3.0, chapter 6; VIRTIO 1.2, 4.1.

#include "tiny-kernel.h"

#define QUEUE_SIZE 64
#define REQUEST_BYTES 16

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc

#define BAR0 0x10
#define BAR1 0x14
#define BAR4 0x20
#define COMMAND 0x04
#define DECODE 7
#define MSIX_CONTROL 0x9a
#define WINDOW 0x84

#define PORTS_A 0xc000
#define PORTS_B 0xd000
#define MEMORY_A 0xe0000000
#define MEMORY_B 0xe1000000
#define MSIX_TABLE 0xe2000000
#define VECTOR 0x51

#define APIC 0xfee00000
#define APIC_SVR 0xf0
#define APIC_IRR 0x200

// As a legacy queue has it: the used ring begins at the next page.
static struct {
  struct {
    u64 address;
    u32 length;
    u16 flags, next;
  } descriptors[QUEUE_SIZE];
  struct {
    u16 flags, index, ring[QUEUE_SIZE];
  } available;
  struct {
    u16 flags, index;
    struct {
      u32 id, length;
    } ring[QUEUE_SIZE];
  } used __attribute__((aligned(4096)));
} queue __attribute__((aligned(4096)));
#define VISIBLE(field) (*(volatile __typeof__(field) *)&(field))

static u8 buffer[REQUEST_BYTES];
static u32 slot;

static void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static u16 in16(u16 port) {
  u16 value;
  __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static u32 in32(u16 port) {
  u32 value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void end(void) { out8(DEBUG_EXIT, 0); }

static void select(u32 device, u32 at) { out32(CONFIG_ADDRESS, 0x80000000 | device << 11 | (at & 0xfc)); }

static u32 config(u32 at) {
  select(slot, at);
  return in32(CONFIG_DATA);
}

static void set_config(u32 at, u32 value) {
  select(slot, at);
  out32(CONFIG_DATA, value);
}

static void set_config16(u32 at, u16 value) {
  select(slot, at);
  out16(CONFIG_DATA + (at & 2), value);
}

static void find(void) {
  for (slot = 0; slot < 32; slot++) {
    u32 id = config(0);
    if ((id & 0xffff) != 0x1af4) continue;
    print_word("slot ", slot);
    print_word("id ", id);
    return;
  }
  print("no device\n");
  end();
}

static void offer(void) {
  queue.descriptors[0].address = (u32)buffer;
  queue.descriptors[0].length = REQUEST_BYTES;
  queue.descriptors[0].flags = 2;
  queue.available.ring[queue.available.index % QUEUE_SIZE] = 0;
  __asm__ volatile("" : : : "memory");
  VISIBLE(queue.available.index) = queue.available.index + 1;
}

static void wait_used(void) {
  while (VISIBLE(queue.used.index) != queue.available.index) {
  }
  print_word("used ", queue.used.index);
}

// Modern.

#define REGISTER8(base, at) (*(volatile u8 *)((base) + (at)))
#define REGISTER16(base, at) (*(volatile u16 *)((base) + (at)))
#define REGISTER32(base, at) (*(volatile u32 *)((base) + (at)))

static void place_bar4(u32 base) {
  set_config(BAR4, base);
  set_config(BAR4 + 4, 0);
}

static void bring_up(u32 base, int vector) {
  REGISTER8(base, 20) = 0;
  REGISTER8(base, 20) = 1;
  REGISTER8(base, 20) = 3;
  REGISTER32(base, 8) = 1;
  REGISTER32(base, 12) = 1;  // VERSION_1
  REGISTER8(base, 20) = 11;
  REGISTER16(base, 22) = 0;
  REGISTER16(base, 24) = QUEUE_SIZE;
  if (vector >= 0) REGISTER16(base, 26) = vector;
  REGISTER32(base, 32) = (u32)queue.descriptors;
  REGISTER32(base, 40) = (u32)&queue.available;
  REGISTER32(base, 48) = (u32)&queue.used;
  REGISTER16(base, 28) = 1;
  REGISTER8(base, 20) = 15;
  print_word("status ", REGISTER8(base, 20));
}

static void notify(u32 base) { REGISTER16(base, 0x3000 + 4 * REGISTER16(base, 30)) = 0; }

static u32 irr(void) { return REGISTER32(APIC, APIC_IRR + 0x10 * (VECTOR / 32)) >> (VECTOR % 32) & 1; }

static void wait_message(void) {
  while (!irr()) {
  }
  print("message\n");
}

/** Sends itself the end of the interrupt: without a handler, the local APIC keeps its bit for ever. */
static void modern(void) {
  REGISTER32(APIC, APIC_SVR) = 0x1ff;
  set_config(BAR1, MSIX_TABLE);
  place_bar4(MEMORY_A);
  set_config16(COMMAND, DECODE);
  set_config16(MSIX_CONTROL, 0x8000);
  REGISTER32(MSIX_TABLE, 16) = APIC;
  REGISTER32(MSIX_TABLE, 20) = 0;
  REGISTER32(MSIX_TABLE, 24) = VECTOR;
  bring_up(MEMORY_A, 1);
  // The vector is masked: the message stays in the device.
  offer();
  notify(MEMORY_A);
  wait_used();
  while (!(REGISTER32(MSIX_TABLE, 0x800) & 2)) {
  }
  print_word("pending ", irr());
  REGISTER32(MSIX_TABLE, 28) = 0;
  wait_message();
  place_bar4(MEMORY_B);
  print_word("gone ", REGISTER32(MEMORY_A, 20));
  offer();
  notify(MEMORY_B);
  wait_used();
}

/** The first request is before somebody saves the machine, the second one may be in another. */
static void between(void) {
  REGISTER32(APIC, APIC_SVR) = 0x1ff;
  set_config(BAR1, MSIX_TABLE);
  place_bar4(MEMORY_A);
  set_config16(COMMAND, DECODE);
  set_config16(MSIX_CONTROL, 0x8000);
  REGISTER32(MSIX_TABLE, 16) = APIC;
  REGISTER32(MSIX_TABLE, 24) = VECTOR;
  bring_up(MEMORY_A, 1);
  offer();
  notify(MEMORY_A);
  wait_used();
  print("waiting\n");
  while (!(in8(COM1 + 5) & 1)) {
  }
  REGISTER32(MSIX_TABLE, 28) = 0;  // the pending message of the first request
  wait_message();
  offer();
  notify(MEMORY_A);
  wait_used();
}

static void wait_line(void) {
  while (!(config(COMMAND) & 0x80000)) {  // Interrupt Status
  }
}

static void line(void) {
  place_bar4(MEMORY_A);
  set_config16(COMMAND, DECODE);
  bring_up(MEMORY_A, -1);
  for (int n = 0; n < 2; n++) {
    offer();
    notify(MEMORY_A);
    wait_used();
    wait_line();
    print_word("isr ", REGISTER8(MEMORY_A, 0x1000));
    print_word("line ", config(COMMAND) & 0x80000);
  }
}

static void legacy(void) {
  set_config(BAR0, PORTS_A);
  set_config16(COMMAND, DECODE);
  out8(PORTS_A + 18, 0);
  out8(PORTS_A + 18, 1);
  out8(PORTS_A + 18, 3);
  out32(PORTS_A + 4, 0);
  out16(PORTS_A + 14, 0);
  print_word("size ", in16(PORTS_A + 12));
  out32(PORTS_A + 8, (u32)&queue >> 12);
  // As Linux 3.2 does: the first request before DRIVER_OK.
  offer();
  out16(PORTS_A + 16, 0);
  wait_used();
  wait_line();
  print_word("isr ", in8(PORTS_A + 19));
  out8(PORTS_A + 18, 7);
  set_config(BAR0, PORTS_B);
  print_word("gone ", in32(PORTS_A));
  offer();
  out16(PORTS_B + 16, 0);
  wait_used();
  print_word("status ", in8(PORTS_B + 18));
}

static void through_window(u32 at, u32 length, u32 value) {
  set_config(WINDOW + 8, at);
  set_config(WINDOW + 12, length);
  set_config(WINDOW + 16, value);
}

static void window(void) {
  set_config(WINDOW + 4, 4);  // BAR 4, which has no address
  through_window(20, 1, 1);
  through_window(20, 1, 3);
  through_window(8, 4, 1);
  through_window(12, 4, 1);
  through_window(20, 1, 11);
  through_window(32, 4, (u32)queue.descriptors);
  through_window(40, 4, (u32)&queue.available);
  through_window(48, 4, (u32)&queue.used);
  through_window(28, 2, 1);
  through_window(20, 1, 15);
  offer();
  through_window(0x3000, 2, 0);
  wait_used();
}

void kernel_main(const u32 *info) {
  const char *word = (const char *)info[4];
  for (const char *at = word; *at; at++) {
    if (*at == ' ') word = at + 1;
  }
  find();
  if (word[0] == 'm') modern();
  else if (word[0] == 'w') window();
  else if (word[0] == 'b') between();
  else if (word[1] == 'i') line();
  else legacy();
  end();
}
