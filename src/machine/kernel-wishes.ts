/** What boards and parts want of KVM: memory, events in place of exits, routes of messages. */

/** A piece of memory of the monitor that the guest sees. */
export interface SlotWish {
  /** Which memory: "ram", or a name that the board gives it. */
  readonly memory: string;
  /** Where in that memory it begins; multiple of 4096, as `address` and `size` are. */
  readonly offset: number;
  readonly address: number;
  readonly size: number;
  /** A write by the guest exits. */
  readonly readOnly: boolean;
}

/** A guest's write that signals an event in place of an exit. */
export interface DoorbellWish {
  /** See Slot.bells. */
  readonly bell: number;
  readonly address: number;
  /** Width of the write in bytes: 1, 2, 4 or 8; 0 for any. */
  readonly length: number;
  /** Only a write of this value, if given. */
  readonly datamatch?: number;
  /** A port, not memory. */
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
