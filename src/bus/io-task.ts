/**
 * What a device does on the io thread, as the reactor there runs it: the queues
 * of a virtio device, a DMA engine, a network tap, a timer.
 */

/** `turn` returns it if there is more to do now; others have their turn first. */
export const AGAIN = 0;
/** `turn` returns it if there is nothing to do until a bell rings. */
export const NEVER = Number.POSITIVE_INFINITY;
