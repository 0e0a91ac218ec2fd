/**
 * Hears of guest memory that is written by anyone but the guest's CPUs, whose
 * writes are in KVM's dirty log.
 */
export interface DirtySink {
  /** False while nobody reads: then `mark` need not be called. */
  readonly on: boolean;
  /** A range of RAM was written, or may have been: an offset, not a guest address, and bytes. */
  mark(offset: number, length: number): void;
}
