/**
 * What a device does on the io thread: the queues of a virtio device, a DMA
 * engine, a network tap, a timer. The reactor of that thread (threads/io) calls
 * it; nothing here waits, except in `quiesce`.
 *
 *   resume   a bell rings, or the time comes   turn … turn   arm   (sleep)   turn …   quiesce
 */

/** A result of `turn` or `arm`: there is more to do now. Other tasks have their turn first. */
export const AGAIN = 0;
/** A result of `turn` or `arm`: there is nothing to do until a bell rings. */
export const NEVER = Number.POSITIVE_INFINITY;

/** What rings when there is work: an event descriptor to the reactor, nothing to the task. */
export type Bell = object;

/** Makes bell `bell` of a task ring no more, or again: it then rings if it was rung meanwhile. */
export type BellListener = (bell: number, on: boolean) => void;

/** @typeParam Order what the owner of the machine may ask of the part, and what it gets back */
export interface IoTask<Order = unknown, Reply = unknown> {
  /** The part that it belongs to. Orders are addressed to it. */
  readonly name: string;
  /**
   * `turn` and the others name them by index. In place of one that is undefined
   * nothing rings: it has turns at times only.
   */
  readonly bells: readonly (Bell | undefined)[];

  /** Called once, before all else. */
  connect?(listener: BellListener): void;
  /**
   * Serves what bell `bell` stands for, a batch at most. Called when it rang, after
   * AGAIN or the time that was returned, and after `resume`.
   *
   * @param polls the reactor may call `peek` for a while before it sleeps: whoever
   *   rings need not until `arm`
   * @returns AGAIN, NEVER, or the ms after which the bell wants a turn by itself
   */
  turn(bell: number, polls: boolean): number;
  /** Requests that the last turn took, if it is worthwhile to poll for the next ones. */
  readonly served?: number;
  /** So many of the first bells can be polled. */
  readonly polled?: number;
  /** Whether a turn would find something although nothing rang. Costs next to nothing. */
  peek?(bell: number): boolean;
  /**
   * The reactor is about to sleep: asks whoever rings to do so from here on.
   *
   * @returns AGAIN if something came meanwhile, for which nothing will ring; ms if
   *   the bell wants a turn should nothing at all ring for so long; NEVER
   */
  arm?(bell: number): number;
  /**
   * Called after every wake, before turns: stops using what another thread wants
   * back. True if it did, and that thread has to be woken.
   */
  settle?(): boolean;

  /** Waits until nothing is in flight. All that has to outlive a pause is in shared state then. */
  quiesce(): void;
  /** The machine runs, for the first time or again. Each bell has a turn next. */
  resume(): void;
  /** Carries out what the owner of the machine asks of the part. @throws an error with a code if it cannot be done */
  order?(order: Order): Reply;
  /** For the last time, after `quiesce`. */
  close?(): void;
}
