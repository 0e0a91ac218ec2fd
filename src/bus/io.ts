/**
 * What a device file sees of the world: the accesses it answers, the wires it
 * pulls and the sinks it fills. Everything else (addresses, locks, threads,
 * interrupt controllers, descriptors) belongs to whoever assembles the machine.
 */

/** Width of one guest access, in bytes. The bus splits 8-byte accesses in two, low half first. */
export type AccessSize = 1 | 2 | 4;

/** Work that a register write started and that must happen after the device's lock is released. */
export interface AfterWrite {
  settle(): void;
}

/**
 * Answers the guest's loads and stores in one address range.
 * Never waits, never throws on guest input, and keeps all its state in shared
 * registers: any thread may serve any access through its own object.
 */
export interface IoDevice {
  /** @param offset from the start of the device's range; @returns an unsigned value of `size` bytes. */
  read(offset: number, size: AccessSize): number;
  /** @param value unsigned, `size` bytes. A result is settled by the bus once the device's lock is free. */
  // biome-ignore lint/suspicious/noConfusingVoidType: almost every device has nothing to settle
  write(offset: number, size: AccessSize, value: number): AfterWrite | void;
  /**
   * Answers reads of one offset, as `rep ins` makes them: fills up to `length` bytes of `into` from `at` on.
   * For a chip that has much data behind one register.
   *
   * @returns bytes, a multiple of `size`; what is missing is read one by one
   */
  readBlock?(offset: number, size: AccessSize, into: Uint8Array, at: number, length: number): number;
  /** The same for `rep outs`. */
  writeBlock?(offset: number, size: AccessSize, from: Uint8Array, at: number, length: number): number;
  /** Puts the registers in the state they have after power-on. */
  reset(): void;
}

/** An interrupt line. Setting the level that it already has does nothing. */
export interface IrqLine {
  set(asserted: boolean): void;
}

/** An edge-triggered interrupt: each pulse is one interrupt. */
export interface IrqPulse {
  pulse(): void;
}

/** Takes message-signalled interrupts: a write of `data` to `address`, which is not in memory. */
export interface MessageSink {
  send(address: number, data: number): void;
}

/** Takes bytes from a device and never loses one: it may hold the caller until there is room. */
export interface ByteSink {
  put(byte: number): void;
}

/** Tells somebody that something happened. */
export interface Signal {
  raise(): void;
}

/** Remembers that something happened until somebody asks. */
export interface Latch {
  /** Whether it happened since the last call. */
  take(): boolean;
}

/** What a guest can do to the whole machine. */
export interface PowerSwitch {
  off(): void;
  reset(): void;
  /** Ends the machine with a status for the monitor's caller (isa-debug-exit). */
  exit(status: number): void;
}
