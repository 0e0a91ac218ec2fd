/** What the options have to know of each board (machine/boards/). */

export interface BoardFacts {
  /** Its virtio devices are on a PCI bus, and it has IDE channels. */
  readonly pci: boolean;
  /** It can start without a kernel, by firmware. */
  readonly firmware: boolean;
  /** How many virtio devices it has room for. A test compares it with the board. */
  readonly virtioDevices: number;
}

export const BOARD_NAMES = ["microvm", "pc"] as const;

export const BOARDS: Readonly<Record<(typeof BOARD_NAMES)[number], BoardFacts>> = {
  microvm: { pci: false, firmware: false, virtioDevices: 12 },
  // Of 32 slots, two are the board's own.
  pc: { pci: true, firmware: true, virtioDevices: 30 },
};
