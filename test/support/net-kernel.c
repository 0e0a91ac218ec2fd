// A Multiboot 1 kernel that drives the first virtio-mmio device, a network card: it
// sends a frame of its own, "hello", and then returns each frame that it gets to its
// sender, with a byte that counts them at the end. A frame of type 0x8801 ends the machine.
//
// Source: VIRTIO 1.2, 5.1.

#define QUEUE_SIZE 16
#include "virtio-kernel.h"

#define NET_F_MAC (1 << 5)
#define NET_F_MRG_RXBUF (1 << 15)

#define HEADER 12
#define BUFFER 2048
#define MAC_BYTES 6
#define TYPE 12

static struct descriptor tx_descriptors[QUEUE_SIZE] __attribute__((aligned(16)));
static volatile struct available tx_available __attribute__((aligned(4)));
static volatile struct used tx_used __attribute__((aligned(4)));

static u8 buffers[QUEUE_SIZE][BUFFER];
static u8 frame[HEADER + BUFFER];
static u8 mac[MAC_BYTES];

static void barrier(void) { __asm__ volatile("" : : : "memory"); }

/** Offers buffer `n` for a frame. */
static void offer(u32 n) {
  descriptors[n].address = (u32)buffers[n];
  descriptors[n].length = BUFFER;
  descriptors[n].flags = DESC_F_WRITE;
  available.ring[available.index % QUEUE_SIZE] = n;
  barrier();
  available.index++;
  QUEUE_NOTIFY = 0;
}

/** Sends `frame`, and waits until it is used. */
static void send(u32 length) {
  for (u32 i = 0; i < HEADER; i++) frame[i] = 0;
  tx_descriptors[0].address = (u32)frame;
  tx_descriptors[0].length = HEADER + length;
  tx_descriptors[0].flags = 0;
  tx_available.ring[tx_available.index % QUEUE_SIZE] = 0;
  barrier();
  tx_available.index++;
  QUEUE_NOTIFY = 1;
  while (tx_used.index != tx_available.index) {
  }
}

void kernel_main(void) {
  bring_up((u32)descriptors, NET_F_MAC | NET_F_MRG_RXBUF);
  QUEUE_SEL = 1;
  QUEUE_NUM = QUEUE_SIZE;
  QUEUE_DESC = (u32)tx_descriptors;
  QUEUE_DRIVER = (u32)&tx_available;
  QUEUE_DEVICE = (u32)&tx_used;
  QUEUE_READY = 1;
  for (u32 i = 0; i < MAC_BYTES; i++) mac[i] = ((volatile u8 *)(WINDOW + 0x100))[i];

  u8 *ethernet = frame + HEADER;
  for (u32 i = 0; i < MAC_BYTES; i++) {
    ethernet[i] = 0xff;
    ethernet[MAC_BYTES + i] = mac[i];
  }
  ethernet[TYPE] = 0x88;
  ethernet[TYPE + 1] = 0;
  for (u32 i = 0; i < 5; i++) ethernet[TYPE + 2 + i] = "hello"[i];
  send(TYPE + 2 + 5);

  for (u32 n = 0; n < QUEUE_SIZE; n++) offer(n);
  u16 seen = 0;
  u8 count = 0;
  for (;;) {
    while (used.index == seen) {
    }
    u32 n = used.ring[seen % QUEUE_SIZE].id;
    u32 length = used.ring[seen % QUEUE_SIZE].length - HEADER;
    seen++;
    const u8 *from = buffers[n] + HEADER;
    for (u32 i = 0; i < length; i++) ethernet[i] = from[i];
    for (u32 i = 0; i < MAC_BYTES; i++) {
      ethernet[i] = from[MAC_BYTES + i];
      ethernet[MAC_BYTES + i] = mac[i];
    }
    u8 type = ethernet[TYPE + 1];
    offer(n);
    ethernet[length] = ++count;
    send(length + 1);
    if (type == 1) {
      print_word("frames ", count);
      out8(DEBUG_EXIT, 0);
    }
  }
}
