/**
 * Where the lines of a PC's interrupts end: at the two 8259s and at the I/O APIC.
 *
 * KVM's own default (arch/x86/kvm/irq_comm.c) has the timer at input 0 of the I/O APIC. On a PC
 * it is at input 2, as our MADT and SeaBIOS's MP table say, and input 0 has the 8259's output,
 * which KVM does not wire (Intel MultiProcessor Specification 1.4, 3.6.2.2).
 */
import type { GsiRoute } from "./vm.ts";

const PIC_MASTER = 0;
const PIC_SLAVE = 1;
const IOAPIC = 2;
const PIC_PINS = 8;
const IOAPIC_PINS = 24;
const TIMER_IRQ = 0;
const TIMER_PIN = 2;

/** KVM_SET_GSI_ROUTING replaces all routes: these come first, and messages behind them. */
export const LINE_ROUTES: readonly GsiRoute[] = [
  ...Array.from({ length: 2 * PIC_PINS }, (_, gsi) => ({
    gsi,
    irqchip: gsi < PIC_PINS ? PIC_MASTER : PIC_SLAVE,
    pin: gsi % PIC_PINS,
  })),
  ...Array.from({ length: IOAPIC_PINS }, (_, gsi) => ({
    gsi,
    irqchip: IOAPIC,
    pin: gsi === TIMER_IRQ ? TIMER_PIN : gsi,
  })).filter(({ gsi }) => gsi !== TIMER_PIN),
];
