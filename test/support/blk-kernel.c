// A Multiboot 1 kernel that drives the first virtio-mmio device, a disk, by commands
// over COM1. Each line is a command and gets one line as its answer. Numbers are
// hexadecimal.
//
//   w SECTOR COUNT BYTE  writes COUNT blocks full of BYTE, from SECTOR on
//   r SECTOR COUNT       reads them
//   d SECTOR COUNT       discards them
//   z SECTOR COUNT       zeroes them, and their storage may be freed
//   f                    flushes
//   c                    prints the capacity in sectors, and whether a change was notified
//   q                    ends the machine
//   x FIRST              changes the disk without end; see change_for_ever
//
// A block has 4096 bytes and is a request of its own; all requests of a command are
// offered at once. The answer is the status of each, and after a read also the byte
// that fills the block: "0=61", or "0=??" if it has different bytes.
//
// Source: VIRTIO 1.2, 5.2.

#define QUEUE_SIZE 64
#include "virtio-kernel.h"

#define BLK_F_FLUSH (1 << 9)
#define BLK_F_DISCARD (1 << 13)
#define BLK_F_WRITE_ZEROES (1 << 14)

#define BLK_T_IN 0
#define BLK_T_OUT 1
#define BLK_T_FLUSH 4
#define BLK_T_DISCARD 11
#define BLK_T_WRITE_ZEROES 13
#define SEGMENT_F_UNMAP 1

#define CAPACITY_LOW REGISTER(0x100)
#define CONFIG_CHANGED 2

#define LSR_DR 1
#define BLOCK 4096
#define BLOCK_SECTORS (BLOCK / 512)
#define MOST 16  // blocks of one command
#define REQUESTS (MOST + 1)
#define DESCRIPTORS 3
#define BATCHES_PER_FLUSH 4

static struct {
  u32 type, reserved;
  u64 sector;
} headers[REQUESTS];
static struct {
  u64 sector;
  u32 sectors, flags;
} segments[REQUESTS];
static volatile u8 statuses[REQUESTS];
static u8 blocks[MOST][BLOCK] __attribute__((aligned(4)));

static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static char read_byte(void) {
  while (!(in8(COM1 + 5) & LSR_DR)) {
  }
  return in8(COM1);
}

static void read_line(char *line, int size) {
  int length = 0;
  for (;;) {
    char byte = read_byte();
    if (byte == '\n') break;
    if (length < size - 1) line[length++] = byte;
  }
  line[length] = 0;
}

/** Parses the number at `*text`, and advances it. */
static u32 number(const char **text) {
  while (**text == ' ') ++*text;
  u32 value = 0;
  for (; **text > ' '; ++*text) value = 16 * value + (**text <= '9' ? **text - '0' : **text - 'a' + 10);
  return value;
}

static void describe(u32 index, volatile void *address, u32 length, u32 flags) {
  descriptors[index].address = (u32)address;
  descriptors[index].length = length;
  descriptors[index].flags = flags;
  descriptors[index].next = index + 1;
}

static void offer(u32 n, u32 type, u32 sector) {
  u32 first = DESCRIPTORS * n;
  headers[n].type = type;
  headers[n].sector = type == BLK_T_IN || type == BLK_T_OUT ? sector : 0;
  segments[n].sector = sector;
  segments[n].sectors = BLOCK_SECTORS;
  segments[n].flags = type == BLK_T_WRITE_ZEROES ? SEGMENT_F_UNMAP : 0;
  statuses[n] = 0xff;
  describe(first, &headers[n], sizeof headers[n], DESC_F_NEXT);
  switch (type) {
    case BLK_T_IN:
      describe(first + 1, blocks[n], BLOCK, DESC_F_NEXT | DESC_F_WRITE);
      break;
    case BLK_T_OUT:
      describe(first + 1, blocks[n], BLOCK, DESC_F_NEXT);
      break;
    case BLK_T_FLUSH:
      descriptors[first].next = first + 2;
      break;
    default:
      describe(first + 1, &segments[n], sizeof segments[n], DESC_F_NEXT);
  }
  describe(first + 2, &statuses[n], 1, DESC_F_WRITE);
  available.ring[(available.index + n) % QUEUE_SIZE] = first;
}

static void fill(u8 *block, u8 byte) {
  for (u32 i = 0; i < BLOCK; i++) block[i] = byte;
}

static void print_contents(const u8 *block) {
  u32 same = 1;
  while (same < BLOCK && block[same] == block[0]) same++;
  print("=");
  if (same == BLOCK) print_hex(block[0], 2);
  else print("??");
}

/** Offers the first so many requests to the device, and waits until it has used them. */
static void submit(u32 count) {
  __asm__ volatile("" : : : "memory");
  available.index += count;
  QUEUE_NOTIFY = 0;
  while (used.index != available.index) {
  }
}

static void carry_out(u32 type, const char *arguments) {
  u32 sector = number(&arguments);
  u32 count = type == BLK_T_FLUSH ? 1 : number(&arguments);
  u8 byte = number(&arguments);
  if (count > MOST) count = MOST;
  for (u32 n = 0; n < count; n++) {
    if (type == BLK_T_OUT) fill(blocks[n], byte);
    offer(n, type, sector + n * BLOCK_SECTORS);
  }
  submit(count);
  for (u32 n = 0; n < count; n++) {
    if (n > 0) print(" ");
    print_hex(statuses[n], 1);
    if (type == BLK_T_IN) print_contents(blocks[n]);
  }
  print("\n");
}

static void print_capacity(void) {
  u32 changed = INTERRUPT_STATUS & CONFIG_CHANGED;
  if (changed) INTERRUPT_ACK = CONFIG_CHANGED;
  print_word(changed ? "changed " : "same ", CAPACITY_LOW);
}

/** One instruction, because a software KVM is slow with loops. */
static void fill_words(void *at, u32 word) {
  u32 count = BLOCK / 4;
  __asm__ volatile("cld; rep stosl" : "+D"(at), "+c"(count) : "a"(word) : "memory");
}

/** Derives a change from its number by MurmurHash3's finalizer: it looks random, but can be computed again. */
static u32 scatter(u32 number) {
  number = (number ^ (number >> 16)) * 0x85ebca6b;
  number = (number ^ (number >> 13)) * 0xc2b2ae35;
  return number ^ (number >> 16);
}

/** Offers change `number`, whose block differs from all others of its batch. disk-changes.ts uses the same rule. */
static void offer_change(u32 n, u32 number, u32 groups) {
  u32 bits = scatter(number);
  u32 sector = (bits % groups * MOST + n) * BLOCK_SECTORS;
  switch (bits >> 29) {
    case 0:
      offer(n, BLK_T_WRITE_ZEROES, sector);
      break;
    case 1:
      offer(n, BLK_T_DISCARD, sector);
      break;
    default:
      fill_words(blocks[n], number);
      offer(n, BLK_T_OUT, sector);
  }
}

/**
 * Makes changes with the numbers from `first` on, MOST at a time. A flush is offered together with
 * some of these batches; it covers the batches before. After it this prints "flushed" and the
 * number of the first change that the flush does not cover, and waits for a byte. A test that
 * sends some bytes ahead knows how many changes may have begun since.
 */
static void change_for_ever(u32 first) {
  u32 groups = CAPACITY_LOW / (MOST * BLOCK_SECTORS);
  for (u32 batch = 0;; batch++, first += MOST) {
    u32 flushes = batch % BATCHES_PER_FLUSH == BATCHES_PER_FLUSH - 1;
    for (u32 n = 0; n < MOST; n++) offer_change(n, first + n, groups);
    if (flushes) offer(MOST, BLK_T_FLUSH, 0);
    submit(MOST + flushes);
    for (u32 n = 0; n < MOST + flushes; n++) {
      if (statuses[n]) print_word("failed ", first + n);
    }
    if (!flushes) continue;
    print_word("flushed ", first);
    read_byte();
  }
}

void kernel_main(void) {
  bring_up((u32)descriptors, BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
  print("ready\n");
  for (;;) {
    char line[64];
    read_line(line, sizeof line);
    switch (line[0]) {
      case 'w':
        carry_out(BLK_T_OUT, line + 1);
        break;
      case 'r':
        carry_out(BLK_T_IN, line + 1);
        break;
      case 'd':
        carry_out(BLK_T_DISCARD, line + 1);
        break;
      case 'z':
        carry_out(BLK_T_WRITE_ZEROES, line + 1);
        break;
      case 'f':
        carry_out(BLK_T_FLUSH, line + 1);
        break;
      case 'c':
        print_capacity();
        break;
      case 'x': {
        const char *first = line + 1;
        change_for_ever(number(&first));
        break;
      }
      case 'q':
        out8(DEBUG_EXIT, 0);
    }
  }
}
