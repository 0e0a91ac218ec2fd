// A Multiboot 1 kernel that drives the first virtio-mmio device, a SCSI controller, by
// commands over its first request queue. It prints what each answered on COM1:
//
//   inquiry 0, attention 29, ready, the capacity, a sector written, read and compared,
//   a range freed, a target that is not there
//
// If its command line is "wait", it waits for a byte on COM1 after the write. If it is "cd", the
// target is a CD drive: after each byte on COM1 it prints whether the drive is ready, the last
// block, and the first byte of block 1; after "l" it locks the tray before that.
//
// Source: VIRTIO 1.2, 5.6.6.1.

#define QUEUE_SIZE 8
#define QUEUE_INDEX 2  // of requests
#include "virtio-kernel.h"

#define SECTOR 512

static struct {
  u8 lun[8];
  u8 id[8];
  u8 attributes[3];
  u8 cdb[32];
} __attribute__((packed)) request;
static volatile struct {
  u32 sense_length, residual;
  u16 qualifier;
  u8 status, response;
  u8 sense[96];
} response;
static u8 data[SECTOR], other[SECTOR], block[2048];

/** Sends the command to a target, with data in one direction. Prints its name, and what came back. */
static void send(const char *name, u8 target, const u8 *cdb, u8 *bytes, u32 length, int is_read) {
  for (u32 n = 0; n < sizeof(request); n++) ((u8 *)&request)[n] = 0;
  request.lun[0] = 1;
  request.lun[1] = target;
  for (int n = 0; n < 16; n++) request.cdb[n] = cdb[n];
  response.status = 0xee;
  u32 at = 0;
  descriptors[at].address = (u32)&request;
  descriptors[at].length = sizeof(request);
  descriptors[at].flags = DESC_F_NEXT;
  descriptors[at].next = at + 1;
  at++;
  if (length && !is_read) {
    descriptors[at].address = (u32)bytes;
    descriptors[at].length = length;
    descriptors[at].flags = DESC_F_NEXT;
    descriptors[at].next = at + 1;
    at++;
  }
  descriptors[at].address = (u32)&response;
  descriptors[at].length = sizeof(response);
  descriptors[at].flags = DESC_F_WRITE;
  if (length && is_read) {
    descriptors[at].flags = DESC_F_WRITE | DESC_F_NEXT;
    descriptors[at].next = at + 1;
    at++;
    descriptors[at].address = (u32)bytes;
    descriptors[at].length = length;
    descriptors[at].flags = DESC_F_WRITE;
  }
  available.ring[available.index % QUEUE_SIZE] = 0;
  __asm__ volatile("" : : : "memory");
  available.index++;
  QUEUE_NOTIFY = QUEUE_INDEX;
  while (used.index != available.index) {
  }
  __asm__ volatile("" : : : "memory");
  print(name);
  print_hex(response.response, 2);
  print(" ");
  print_hex(response.status, 2);
  print(" ");
  print_hex(response.sense_length ? response.sense[2] << 16 | response.sense[12] << 8 | response.sense[13] : 0, 6);
  print("\n");
}

static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static u8 next_byte(void) {
  while (!(in8(COM1 + 5) & 1)) {
  }
  return in8(COM1);
}

static void follow_cd(void) {
  const u8 ready[16] = {0x00}, capacity[16] = {0x25}, lock[16] = {0x1e, 0, 0, 0, 1};
  const u8 read[16] = {0x28, 0, 0, 0, 0, 1, 0, 0, 1};
  print("waits\n");
  for (;;) {
    if (next_byte() == 'l') send("lock ", 3, lock, data, 0, 0);
    send("ready ", 3, ready, data, 0, 0);
    send("capacity ", 3, capacity, data, 8, 1);
    print_word("last ", data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3]);
    send("block ", 3, read, block, sizeof(block), 1);
    print_word("first ", block[0]);
  }
}

void kernel_main(const u32 *info) {
  const char *word = (const char *)info[4];
  for (const char *at = word; *at; at++) {
    if (*at == ' ') word = at + 1;
  }
  bring_up((u32)descriptors, 0);
  if (word[0] == 'c') follow_cd();
  const u8 inquiry[16] = {0x12, 0, 0, 0, 36}, ready[16] = {0x00}, capacity[16] = {0x25};
  const u8 read[16] = {0x28, 0, 0, 0, 0, 5, 0, 0, 1}, write[16] = {0x2a, 0, 0, 0, 0, 5, 0, 0, 1};
  const u8 beyond[16] = {0x28, 0, 0xff, 0, 0, 0, 0, 0, 1}, unmap[16] = {0x42, 0, 0, 0, 0, 0, 0, 0, 24};
  send("inquiry ", 3, inquiry, data, 36, 1);
  data[16 + 8] = 0;
  print((const char *)data + 16);
  print("\n");
  send("attention ", 3, ready, data, 0, 0);
  send("ready ", 3, ready, data, 0, 0);
  send("capacity ", 3, capacity, data, 8, 1);
  print_word("last ", data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3]);
  for (int n = 0; n < SECTOR; n++) data[n] = (u8)(n * 7);
  send("write ", 3, write, data, SECTOR, 0);
  if (word[0] == 'w') {
    print("waits\n");
    next_byte();
  }
  send("read ", 3, read, other, SECTOR, 1);
  u32 wrong = 0;
  for (int n = 0; n < SECTOR; n++) wrong += data[n] != other[n];
  print_word("wrong ", wrong);
  for (int n = 0; n < 24; n++) data[n] = 0;
  data[1] = 22;
  data[3] = 16;
  data[15] = 64;  // the first sector
  data[19] = 8;
  send("unmap ", 3, unmap, data, 24, 0);
  send("beyond ", 3, beyond, other, SECTOR, 1);
  send("absent ", 4, ready, data, 0, 0);
  out8(DEBUG_EXIT, 0);
}
