/** What boards and parts request from KVM: memory, events instead of exits, routes of messages. */

/** A range of the monitor's memory that the guest sees. */
export interface SlotWish {
  /** Which memory: "ram", or a name that the board gives it. */
  readonly memory: string;
  /** Offset of the range in that memory; a multiple of 4096, like `address` and `size`. */
  readonly offset: number;
  readonly address: number;
  readonly size: number;
  /** A write by the guest exits. */
  readonly readOnly: boolean;
}

/** A guest's write that signals an event instead of an exit. */
export interface DoorbellWish {
  /** See Slot.bells. */
  readonly bell: number;
  readonly address: number;
  /** Width of the write in bytes: 1, 2, 4 or 8; 0 for any. */
  readonly length: number;
  /** Only a write of this value, if given. */
  readonly datamatch?: number;
  /** An I/O port, not memory. */
  readonly port?: boolean;
}

/** Where a message-signalled interrupt goes. */
export interface MessageWish {
  /** See Slot.messages. */
  readonly gsi: number;
  readonly address: number;
  readonly data: number;
}

export interface KernelWishes {
  readonly slots?: readonly SlotWish[];
  readonly doorbells?: readonly DoorbellWish[];
  readonly messages?: readonly MessageWish[];
}

/** The name of guest RAM among memories. */
export const RAM = "ram";
