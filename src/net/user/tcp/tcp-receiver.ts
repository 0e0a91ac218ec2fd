/**
 * The half of a TCP connection that receives from the guest: order, window, and what is acknowledged.
 * The window is the space that the host's stream has, so a slow stream stops the guest.
 */
import { OutOfOrder } from "./out-of-order.ts";

/** RFC 7323: the window is counted in units of 128 bytes. */
export const OUR_WINDOW_SCALE = 7;
export const FULL_WINDOW = 1024 * 1024;
/** With many slow connections. It is still several segments. */
export const SMALL_WINDOW = 32 * 1024;

export class TcpReceiver {
  readonly early = new OutOfOrder();
  /** The next byte that is expected. */
  next = 0;
  finReceived = false;
  /** The end of the window that the guest was promised. */
  #edge = 0;
  #finSequence = 0;
  #knowsFin = false;

  begin(sequence: number): void {
    this.next = sequence;
    this.#edge = sequence;
  }

  /** What the guest may send now. */
  get window(): number {
    return Math.max(0, (this.#edge - this.next) | 0);
  }

  /**
   * The window to announce, when `free` bytes have a place. A promise is not taken back, and it is
   * extended in large steps only (RFC 9293, 3.8.6.2.2).
   */
  offer(free: number, mss: number, scale: number): number {
    const room = Math.max(0, free);
    if (this.wouldGrow(room, mss)) {
      const unit = 1 << scale;
      const most = 65_535 * unit;
      this.#edge = (this.next + Math.min(room - (room % unit), most)) | 0;
    }
    return Math.min(65_535, this.window >> scale);
  }

  wouldGrow(free: number, mss: number): boolean {
    const more = free - this.window;
    return more >= Math.min(2 * mss, FULL_WINDOW / 2) || (more > 0 && this.window === 0 && free >= mss);
  }

  /** Whether a segment of `length` at `sequence` concerns this window (RFC 9293, 3.4). */
  isAcceptable(sequence: number, length: number): boolean {
    const start = (sequence - this.next) | 0;
    const { window } = this;
    if (length === 0) return start === 0 || (start > 0 && start < window);
    return start < window && start + length > 0;
  }

  /** The part of the segment's data that continues the stream; undefined: nothing yet. */
  accept(sequence: number, data: Uint8Array): Uint8Array | undefined {
    const start = (sequence - this.next) | 0;
    const from = Math.max(0, -start);
    const to = Math.min(data.length, this.window - start);
    if (from >= to) return undefined;
    if (start > 0) {
      this.early.add(sequence, data.subarray(0, to));
      return undefined;
    }
    const fresh = from === 0 && to === data.length ? data : data.subarray(from, to);
    this.next = (this.next + fresh.length) | 0;
    return fresh;
  }

  /** What arrived early and now continues the stream. */
  takeEarly(): Uint8Array | undefined {
    const data = this.early.isEmpty ? undefined : this.early.take(this.next);
    if (data !== undefined) this.next = (this.next + data.length) | 0;
    return data;
  }

  /** The segment has a FIN at `sequence`. */
  noteFin(sequence: number): void {
    this.#knowsFin = true;
    this.#finSequence = sequence;
  }

  /** Whether the FIN has its turn now; true once. */
  takeFin(): boolean {
    if (!this.#knowsFin || this.finReceived || this.#finSequence !== this.next) return false;
    this.finReceived = true;
    this.next = (this.next + 1) | 0;
    return true;
  }
}
