/**
 * What a network card is connected to, as the card sees it on the io thread: one
 * frame at a time, without waiting. A header of NET_HEADER_BYTES is before each
 * frame, as in a virtqueue.
 */
import type { Pieces } from "../base/pieces.ts";

export interface NetBackend {
  /** By queue pair: is signalled when a frame may have come. A handle of sys. */
  readonly arrivals: readonly object[];
  /** By queue pair: is signalled when there is room again after EAGAIN. Without them the card tries again after a while. */
  readonly vacancies?: readonly object[] | undefined;

  /**
   * Sends one frame: the header, and the frame in pieces of guest RAM, which are
   * read once. A card that has copied the frame has all of it behind the header.
   *
   * @returns 0 or more; EAGAIN if it is to be sent again later; another -errno if it is lost
   */
  send(pair: number, header: Uint8Array, frame: Pieces): number;
  /** Fills `into` with header and frame. @returns their bytes; EAGAIN if there is none now; another -errno */
  receive(pair: number, into: Uint8Array): number;
  /** The guest's driver takes frames with these OFFLOAD_ bits from now on. */
  accept(offloads: number): void;
  /** The driver uses the first `pairs` queue pairs. */
  usePairs?(pairs: number): void;
  close(): void;
}
