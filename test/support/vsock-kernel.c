// A Multiboot 1 kernel that drives the first virtio-mmio device, a vsock device: it
// connects to port 1024 of the host, accepts every connection and returns what it gets.
// When its connections are lost, it connects to port 1025. A connection to port 9 ends
// the machine.
//
// Source: VIRTIO 1.2, 5.10.

#define QUEUE_SIZE 16
#include "virtio-kernel.h"

#define HEADER 44
#define BUFFER 2048
#define HOST_CID 2

#define OP_REQUEST 1
#define OP_RESPONSE 2
#define OP_RST 3
#define OP_SHUTDOWN 4
#define OP_RW 5

struct packet {
  u32 src_cid, src_cid_high, dst_cid, dst_cid_high;
  u32 src_port, dst_port, length;
  u16 type, op;
  u32 flags, buf_alloc, fwd_cnt;
  u8 data[BUFFER - HEADER];
};

struct queue {
  struct descriptor descriptors[QUEUE_SIZE] __attribute__((aligned(16)));
  volatile struct available available __attribute__((aligned(4)));
  volatile struct used used __attribute__((aligned(4)));
};

static struct queue tx, events;
static struct packet buffers[QUEUE_SIZE];
static struct packet packet;
static u32 event;
static u32 cid;
/** By the last digit of the port of the guest. */
static u32 taken[16];

static void barrier(void) { __asm__ volatile("" : : : "memory"); }

static void set_up(u32 index, struct queue *queue) {
  QUEUE_SEL = index;
  QUEUE_NUM = QUEUE_SIZE;
  QUEUE_DESC = (u32)queue->descriptors;
  QUEUE_DRIVER = (u32)&queue->available;
  QUEUE_DEVICE = (u32)&queue->used;
  QUEUE_READY = 1;
}

/** Offers buffer `n` for a packet. */
static void offer(u32 n) {
  descriptors[n].address = (u32)&buffers[n];
  descriptors[n].length = BUFFER;
  descriptors[n].flags = DESC_F_WRITE;
  available.ring[available.index % QUEUE_SIZE] = n;
  barrier();
  available.index++;
  QUEUE_NOTIFY = 0;
}

static void offer_event(void) {
  events.descriptors[0].address = (u32)&event;
  events.descriptors[0].length = 4;
  events.descriptors[0].flags = DESC_F_WRITE;
  events.available.ring[events.available.index % QUEUE_SIZE] = 0;
  barrier();
  events.available.index++;
  QUEUE_NOTIFY = 2;
}

/** Sends `packet`, and waits until it is used. */
static void send(u32 host_port, u32 port, u32 op, u32 length) {
  packet.src_cid = cid;
  packet.dst_cid = HOST_CID;
  packet.src_port = port;
  packet.dst_port = host_port;
  packet.length = length;
  packet.type = 1;
  packet.op = op;
  packet.flags = op == OP_SHUTDOWN ? 3 : 0;
  packet.buf_alloc = 65536;
  packet.fwd_cnt = taken[port % 16];
  tx.descriptors[0].address = (u32)&packet;
  tx.descriptors[0].length = HEADER + length;
  tx.descriptors[0].flags = 0;
  tx.available.ring[tx.available.index % QUEUE_SIZE] = 0;
  barrier();
  tx.available.index++;
  QUEUE_NOTIFY = 1;
  while (tx.used.index != tx.available.index) {
  }
}

static void serve(const struct packet *from) {
  u32 host_port = from->src_port, port = from->dst_port, length = from->length;
  if (from->op == OP_REQUEST && port == 9) {
    print_word("taken ", taken[7]);
    out8(DEBUG_EXIT, 0);
  }
  if (from->op == OP_REQUEST) taken[port % 16] = 0;
  if (from->op == OP_REQUEST) send(host_port, port, port == 8 ? OP_RST : OP_RESPONSE, 0);
  if (from->op == OP_SHUTDOWN) send(host_port, port, OP_SHUTDOWN, 0);
  if (from->op != OP_RW) return;
  for (u32 i = 0; i < length; i++) packet.data[i] = from->data[i];
  taken[port % 16] += length;
  send(host_port, port, OP_RW, length);
}

void kernel_main(void) {
  bring_up((u32)descriptors, 0);
  set_up(1, &tx);
  set_up(2, &events);
  cid = REGISTER(0x100);
  offer_event();
  send(1024, 5, OP_REQUEST, 0);
  for (u32 n = 0; n < QUEUE_SIZE; n++) offer(n);
  u16 seen = 0, seen_events = 0;
  for (;;) {
    if (events.used.index != seen_events) {
      seen_events++;
      offer_event();
      for (u32 i = 0; i < 16; i++) taken[i] = 0;
      send(1025, 6, OP_REQUEST, 0);
    }
    if (used.index == seen) continue;
    u32 n = used.ring[seen % QUEUE_SIZE].id;
    seen++;
    serve(&buffers[n]);
    offer(n);
  }
}
