// A Multiboot 1 kernel that uses a high precision event timer, and prints on COM1 what it
// found: its identity, whether its counter counts, and the inputs of the I/O APIC at which
// interrupts came, as bits.
//
//   routed    timer 2, once, routed to input 17
//   cut off   the i8254 while LegacyReplacement is on: none
//   legacy    timer 0, periodic, by LegacyReplacement: input 2
//
// If its command line is "wait", timer 2 matches some time after "waits" is printed, for a snapshot.
//
// Interrupts stay disabled: the local APIC's IRR says what came.
//
// Source: IA-PC HPET Specification 1.0a, 2.3; Intel 82093AA (I/O APIC), 3.2; Intel SDM, volume 3,
// 11.4 and 11.8.4 (local APIC); Intel 8254, control word.
#include "tiny-kernel.h"

#define IOREGSEL (*(volatile u32 *)0xfec00000)
#define IOWIN (*(volatile u32 *)0xfec00010)
#define LAPIC(offset) (*(volatile u32 *)(0xfee00000 + (offset)))
#define SVR 0xf0
#define SVR_ENABLED 0x1ff
#define IRR 0x200
#define FIRST_VECTOR 0x40
#define INPUTS 24

#define HPET(offset) (*(volatile u32 *)(0xfed00000 + (offset)))
#define CONFIG 0x10
#define COUNTER 0xf0
#define TIMER(n) (0x100 + 0x20 * (n))
#define COMPARATOR 8
#define TN_ENABLE 0x04
#define TN_PERIODIC 0x08
#define TN_SETVAL 0x40
#define TN_32BIT 0x100
#define MS 100000

static u32 came(void) { return LAPIC(IRR + 0x10 * (FIRST_VECTOR / 32)) & ((1 << INPUTS) - 1); }

/** Until an interrupt came that is not in `before`, or that many ms have passed. */
static u32 wait(u32 before, u32 ms) {
  u32 begin = HPET(COUNTER);
  while (came() == before && HPET(COUNTER) - begin < ms * MS) {
  }
  return came() & ~before;
}

void kernel_main(const u32 *info) {
  const char *word = (const char *)info[4];
  for (const char *at = word; *at; at++) {
    if (*at == ' ') word = at + 1;
  }
  out8(0x21, 0xff);  // the 8259s are masked
  out8(0xa1, 0xff);
  LAPIC(SVR) = SVR_ENABLED;
  for (u32 input = 0; input < INPUTS; input++) {  // edges, to APIC 0
    IOREGSEL = 0x11 + 2 * input;
    IOWIN = 0;
    IOREGSEL = 0x10 + 2 * input;
    IOWIN = FIRST_VECTOR + input;
  }
  print_word("id ", HPET(0));
  print_word("period ", HPET(4));
  HPET(CONFIG) = 1;
  u32 begin = HPET(COUNTER);
  while (HPET(COUNTER) - begin < MS) {
  }
  print("counts\n");

  HPET(TIMER(2)) = TN_ENABLE | TN_32BIT | 17 << 9;
  if (word[0] == 'w') {
    HPET(TIMER(2) + COMPARATOR) = HPET(COUNTER) + 500 * MS;
    print("waits\n");
    print_word("routed ", wait(0, 30000));
    out8(DEBUG_EXIT, 0);
  }
  HPET(TIMER(2) + COMPARATOR) = HPET(COUNTER) + MS;
  print_word("routed ", wait(0, 10000));

  HPET(CONFIG) = 3;
  out8(0x43, 0x34);  // channel 0, rate generator, 1 ms
  out8(0x40, 1193 & 0xff);
  out8(0x40, 1193 >> 8);
  u32 before = came();
  print_word("cut off ", wait(before, 50));
  HPET(TIMER(0)) = TN_ENABLE | TN_PERIODIC | TN_SETVAL | TN_32BIT;
  HPET(TIMER(0) + COMPARATOR) = HPET(COUNTER) + 2 * MS;
  HPET(TIMER(0) + COMPARATOR) = 2 * MS;
  print_word("legacy ", wait(before, 10000));
  out8(DEBUG_EXIT, 0);
}
