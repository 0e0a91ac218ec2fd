/**
 * Whoever wants to know which guest memory devices wrote: KVM's dirty log has
 * only what the guest's CPUs wrote.
 */
export interface DirtySink {
  /** False while nobody reads: then `written` need not be called. */
  readonly on: boolean;
  /** A device wrote, or may have written, this range of RAM: offsets, not guest addresses. */
  written(offset: number, length: number): void;
}
