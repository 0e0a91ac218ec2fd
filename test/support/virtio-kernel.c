// A Multiboot 1 kernel that drives the first virtio-mmio device, an entropy device,
// with interrupts masked: it polls, and prints the results on COM1.
//
// The last word of its command line selects its work:
//   registers  prints each word of the window that is not 0
//   astray     offers a queue inside the window of the device itself
//   a number   makes so many requests, and acknowledges the interrupt of each

#define QUEUE_SIZE 8
#include "virtio-kernel.h"

#define REQUEST_BYTES 16

static u8 buffer[REQUEST_BYTES];

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

/** Waits for an interrupt, and acknowledges it until InterruptStatus is clear. */
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
    bring_up(WINDOW, 0);
    request();
    while (!(STATUS & NEEDS_RESET)) {
    }
    print_word("status ", STATUS);
    print_word("interrupt ", INTERRUPT_STATUS);
  } else {
    bring_up((u32)descriptors, 0);  // none: an interrupt for each request
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
