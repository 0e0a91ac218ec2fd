/**
 * The demos, in the order in which to read them. Each is NAME.ts, which exports
 * `demo`, with its guest in NAME.s beside it (NAME-part.s where there are
 * several) and its pages in docs/demos/.
 */

/** Takes one line of a demo's text. */
export type Out = (line: string) => void;

/** What NAME.ts exports as `demo`: runs to its end and returns. */
export type Demo = (out: Out) => Promise<void>;

export interface DemoEntry {
  readonly name: string;
  /** What there is to see, in one sentence. */
  readonly sentence: string;
}

export const DEMOS: readonly DemoEntry[] = [
  { name: "hello", sentence: "a real-mode guest of seven instructions says hello, one exit a character" },
  { name: "modes", sentence: "real, protected, long mode: CR0, EFER and CS at each step of one guest" },
  {
    name: "entry-exit",
    sentence: "every return of KVM_RUN narrated: reason, RIP, data, time inside and outside",
  },
  {
    name: "three-ways",
    sentence: "one guest interpreted, paravirtualized and assisted by hardware: instructions, exits, time",
  },
  {
    name: "memory",
    sentence: "lazy RAM, slots, an alias, a read-only slot, the dirty log: what the guest takes for memory",
  },
  { name: "mmio", sentence: "a device with a memory window: the guest's loads and stores as exits" },
  { name: "interrupts", sentence: "a guest sets an IDT and halts; KVM_IRQ_LINE and an irqfd wake it up" },
  {
    name: "virtqueue",
    sentence: "a driver writes one disk request by hand: its virtqueue before, during and after",
  },
  {
    name: "step",
    sentence: "a guest stepped through, one instruction a KVM_RUN, with breakpoints and a watchpoint",
  },
  { name: "smp", sentence: "two processors: INIT-SIPI-SIPI, and a spin lock with and without LOCK" },
  {
    name: "own-os",
    sentence: "a Multiboot kernel in C prints on the serial port and on the screen, and what either costs",
  },
];
