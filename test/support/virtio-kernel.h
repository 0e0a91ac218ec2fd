// The common part of kernels for virtio-mmio devices: the registers of the first
// device, and one queue of it. The kernels run with interrupts masked, and poll.
//
// Source: VIRTIO 1.2, 3.1.1, 2.7 and 4.2.2.
//
// Define QUEUE_SIZE before including this, and QUEUE_INDEX for another queue than the first.

#include "tiny-kernel.h"

#ifndef QUEUE_INDEX
#define QUEUE_INDEX 0
#endif

#define WINDOW 0xfeb00000
#define WINDOW_WORDS 1024
#define REGISTER(offset) (*(volatile u32 *)(WINDOW + (offset)))
#define DEVICE_FEATURES REGISTER(0x10)
#define DEVICE_FEATURES_SEL REGISTER(0x14)
#define DRIVER_FEATURES REGISTER(0x20)
#define DRIVER_FEATURES_SEL REGISTER(0x24)
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
#define DESC_F_NEXT 1
#define DESC_F_WRITE 2

struct descriptor {
  u64 address;
  u32 length;
  u16 flags, next;
};
struct available {
  u16 flags, index, ring[QUEUE_SIZE];
};
struct used {
  u16 flags, index;
  struct {
    u32 id, length;
  } ring[QUEUE_SIZE];
};

static struct descriptor descriptors[QUEUE_SIZE] __attribute__((aligned(16)));
static volatile struct available available __attribute__((aligned(4)));
static volatile struct used used __attribute__((aligned(4)));

/** Initializes the device with VERSION_1, and with those of `features` that it offers. */
static void bring_up(u32 queue, u32 features) {
  STATUS = 0;
  STATUS = 1;
  STATUS = 3;
  if (features) {
    DEVICE_FEATURES_SEL = 0;
    DRIVER_FEATURES_SEL = 0;
    DRIVER_FEATURES = features & DEVICE_FEATURES;
  }
  DRIVER_FEATURES_SEL = 1;
  DRIVER_FEATURES = 1;  // VERSION_1
  STATUS = 11;
  QUEUE_SEL = QUEUE_INDEX;
  QUEUE_NUM = QUEUE_SIZE;
  QUEUE_DESC = queue;
  QUEUE_DRIVER = (u32)&available;
  QUEUE_DEVICE = (u32)&used;
  QUEUE_READY = 1;
  STATUS = 15;
}
