/**
 * The demos, in the order in which to read them. Each is NAME.ts, which exports
 * `demo`. Its guest is NAME.s beside it (NAME-part.s if there are several), and
 * its pages are in docs/demos/.
 */

/** Receives one line of a demo's text. */
export type Out = (line: string) => void;

/** What NAME.ts exports as `demo`: runs to its end and returns. */
export type Demo = (out: Out) => Promise<void>;

export interface DemoEntry {
  readonly name: string;
  /** What the demo shows, in one sentence. */
  readonly sentence: string;
}

export const DEMOS: readonly DemoEntry[] = [
  {
    name: "hello",
    sentence: "a real-mode guest of seven instructions says hello, one exit for each character",
  },
  { name: "modes", sentence: "real, protected, long mode: CR0, EFER and CS at each step of one guest" },
  {
    name: "entry-exit",
    sentence: "every return of KVM_RUN explained: reason, RIP, data, time inside and outside",
  },
  {
    name: "three-ways",
    sentence: "one guest interpreted, paravirtualized and assisted by hardware: instructions, exits, time",
  },
  {
    name: "memory",
    sentence: "lazy RAM, slots, an alias, a read-only slot, the dirty log: what a guest uses as memory",
  },
  { name: "mmio", sentence: "a device with a memory window: the guest's loads and stores as exits" },
  { name: "interrupts", sentence: "a guest sets up an IDT and halts; KVM_IRQ_LINE and an irqfd wake it up" },
  {
    name: "virtqueue",
    sentence: "a driver writes one disk request by hand: its virtqueue before, during and after",
  },
  {
    name: "step",
    sentence: "a guest executed step by step, one instruction for each KVM_RUN; breakpoints, a watchpoint",
  },
  { name: "smp", sentence: "two processors: INIT-SIPI-SIPI, and a spin lock with and without LOCK" },
  {
    name: "own-os",
    sentence: "a Multiboot kernel in C prints on the serial port and on the screen: what each costs",
  },
];
