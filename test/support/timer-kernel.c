// A Multiboot 1 kernel: prints which input of the I/O APIC the timer (i8254, channel 0)
// is wired to, on COM1.
//
// Interrupts stay disabled: the local APIC's IRR says what came.
//
// Source: Multiboot Specification 0.6.96; Intel 82093AA (I/O APIC), 3.2; Intel SDM, volume
// 3, 11.4 and 11.8.4 (local APIC); Intel 8254, control word.

typedef unsigned char u8;
typedef unsigned int u32;

#define COM1 0x3f8
#define LSR (COM1 + 5)
#define LSR_THRE 0x20
#define DEBUG_EXIT 0xf4
#define IOREGSEL (*(volatile u32 *)0xfec00000)
#define IOWIN (*(volatile u32 *)0xfec00010)
#define LAPIC(offset) (*(volatile u32 *)(0xfee00000 + (offset)))
#define SVR 0xf0
#define SVR_ENABLED 0x1ff
#define IRR 0x200
#define FIRST_VECTOR 0x40
#define INPUTS 24

__asm__(
    ".text\n"
    ".balign 4\n"
    "  .long 0x1badb002, 0, -0x1badb002\n"
    ".globl _start\n"
    "_start:\n"
    "  mov $stack_end, %esp\n"
    "  call run\n"
    ".bss\n"
    "  .skip 4096\n"
    "stack_end:\n"
    ".text\n");

static void out(int port, u8 value) {
  __asm__ volatile("outb %0, %w1" : : "a"(value), "d"(port));
}

static u8 in(int port) {
  u8 value;
  __asm__ volatile("inb %w1, %0" : "=a"(value) : "d"(port));
  return value;
}

static void put(u8 byte) {
  while (!(in(LSR) & LSR_THRE)) {
  }
  out(COM1, byte);
}

static void write_ioapic(u32 reg, u32 value) {
  IOREGSEL = reg;
  IOWIN = value;
}

void run(void) {
  out(0x21, 0xff);  // the 8259s are masked
  out(0xa1, 0xff);
  LAPIC(SVR) = SVR_ENABLED;
  for (u32 input = 0; input < INPUTS; input++) {  // edges, to APIC 0
    write_ioapic(0x11 + 2 * input, 0);
    write_ioapic(0x10 + 2 * input, FIRST_VECTOR + input);
  }
  out(0x43, 0x34);  // channel 0, rate generator, 1 ms
  out(0x40, 1193 & 0xff);
  out(0x40, 1193 >> 8);
  u32 came = 0;
  for (u32 n = 0; came == 0 && n < 1000000; n++) came = LAPIC(IRR + 0x10 * (FIRST_VECTOR / 32));
  for (u32 input = 0; input < INPUTS; input++) put((came >> input) & 1 ? '1' : '0');
  put('\n');
  out(DEBUG_EXIT, 0);
  for (;;) {
  }
}
