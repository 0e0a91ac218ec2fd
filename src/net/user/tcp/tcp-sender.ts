/**
 * The half of a TCP connection that sends to the guest: what is in flight, and what is sent again.
 *
 * Sources: RFC 9293 (3.8), RFC 6298, RFC 5681, RFC 6582 (NewReno), RFC 2018 and 6675 (selective
 * acknowledgement; the scoreboard is only used during recovery).
 */
import { ACCEPTS_CHECKSUM, ACCEPTS_TSO4, ACCEPTS_TSO6, type GuestLink } from "../../link.ts";
import { type Packet, TCP_ACK, TCP_FIN, TCP_PSH } from "../packet.ts";
import { Ranges } from "./ranges.ts";
import { CongestionWindow, RetransmissionTimer } from "./retransmission.ts";
import { SendQueue } from "./send-queue.ts";

const DUPLICATES_OF_A_LOSS = 3;
/** A view of so many bytes is sent rather than a copy of more. */
const ENOUGH_FOR_A_SEGMENT = 16_384;
/** An IP packet has at most 65 535 bytes, headers included. */
const MAX_SEGMENT_BYTES = 65_535 - 120;

/** Sends one segment. False: there is no room for it now. */
export type EmitSegment = (
  sequence: number,
  flags: number,
  body: Uint8Array | undefined,
  gsoSize: number,
) => boolean;

export class TcpSender {
  readonly queue = new SendQueue();
  readonly timer = new RetransmissionTimer();
  /** The first byte that is not acknowledged, the next to send, and the end of what was ever sent. */
  una: number;
  next: number;
  max: number;
  mss = 536;
  /** What the guest can take behind `una`. */
  window = 0;
  windowScale = 0;
  /** No data follows what is queued. */
  hasEnded = false;
  finAcked = false;
  readonly #emit: EmitSegment;
  readonly #link: GuestLink;
  readonly #tsoBit: number;
  readonly #sacked = new Ranges();
  #congestion = new CongestionWindow(536);
  #duplicates = 0;
  #isRecovering = false;
  /** Recovery ends when this is acknowledged. */
  #recoverUntil = 0;
  /** Holes before this sequence were sent again already. */
  #repairedUntil = 0;
  /** The last timeout was a mistake if more than this is acknowledged at once. */
  #suspectUntil = 0;
  #isSuspect = false;
  #windowSequence = 0;
  #windowAck = 0;
  #timedSequence = 0;
  /** -1: no segment is timed. */
  #timedAt = -1;

  constructor(emit: EmitSegment, link: GuestLink, family: 4 | 6, initial: number) {
    this.#emit = emit;
    this.#link = link;
    this.#tsoBit = ACCEPTS_CHECKSUM | (family === 4 ? ACCEPTS_TSO4 : ACCEPTS_TSO6);
    this.una = initial;
    this.next = initial;
    this.max = initial;
  }

  get inFlight(): number {
    return (this.next - this.una) | 0;
  }

  /** Data or FIN waits to be sent or acknowledged. */
  get isIdle(): boolean {
    return this.queue.length === 0 && (!this.hasEnded || this.finAcked);
  }

  /** The guest's window is closed, and only a probe can find out when it opens. */
  get mustProbe(): boolean {
    return this.window === 0 && this.inFlight === 0 && !this.isIdle;
  }

  /** The handshake's facts: the guest's options, and its first window. */
  begin(mss: number, windowScale: number, window: number, sequence: number, acknowledgement: number): void {
    this.mss = mss;
    this.windowScale = windowScale;
    this.window = window;
    this.#windowSequence = sequence;
    this.#windowAck = acknowledgement;
    this.#congestion = new CongestionWindow(mss);
  }

  /** Sends what the windows allow. */
  output(now: number): void {
    const { queue, mss } = this;
    const canSegment = (this.#link.accepts & this.#tsoBit) === this.#tsoBit;
    const most = canSegment ? MAX_SEGMENT_BYTES - (MAX_SEGMENT_BYTES % mss) : mss;
    for (;;) {
      const inFlight = this.inFlight;
      const unsent = queue.length - inFlight;
      if (unsent <= 0) break;
      const room = Math.min(this.window, this.#congestion.bytes) - inFlight;
      let count = Math.min(unsent, room, most);
      // RFC 9293, 3.8.6.2.1: no small segments while others are in flight and a larger one will be possible.
      if (count <= 0 || (count < mss && count < unsent && inFlight > 0)) return;
      if (count > mss && count < unsent) count -= count % mss;
      const body = queue.slice(inFlight, count, canSegment ? ENOUGH_FOR_A_SEGMENT : count);
      const flags = body.length === unsent ? TCP_ACK | TCP_PSH : TCP_ACK;
      if (!this.#emit(this.next, flags, body, body.length > mss ? mss : 0)) return;
      this.#sent(body.length, now);
    }
    if (this.hasEnded && !this.finAcked && this.inFlight === queue.length) {
      if (this.#emit(this.next, TCP_ACK | TCP_FIN, undefined, 0)) this.#sent(1, now);
    }
  }

  /** An acknowledgement. False: it is for something that was never sent. */
  acknowledge(packet: Packet, now: number): boolean {
    const ack = packet.acknowledgement;
    const advance = (ack - this.una) | 0;
    if (((ack - this.max) | 0) > 0) return false;
    if (advance < 0) return true;
    const window = packet.window << this.windowScale;
    const isDuplicate =
      advance === 0 && packet.dataBytes === 0 && window === this.window && this.max !== this.una;
    for (let n = 0; n < packet.sackCount; n++) this.#addSack(packet.sack[2 * n], packet.sack[2 * n + 1]);
    this.#updateWindow(packet, window);
    if (advance > 0) this.#advance(ack, advance, now);
    else if (isDuplicate) this.#duplicate();
    return true;
  }

  /** The retransmission timer expired: all in flight is sent again, one segment first. */
  timedOut(): void {
    // An acknowledgement of more than the first segment will say that this was a mistake, unless
    // something behind a hole has arrived already. A stalled guest or host is far more likely than a loss.
    const isFirst = this.timer.expiries === 0;
    const isSuspect = isFirst && this.#duplicates === 0 && this.#sacked.count === 0 && !this.#isRecovering;
    this.#suspectUntil = (this.una + this.mss) | 0;
    this.#isSuspect = isSuspect;
    this.#congestion.timedOut(this.inFlight);
    this.#sacked.clear();
    this.#isRecovering = false;
    this.#duplicates = 0;
    this.#timedAt = -1;
    this.next = this.una;
    this.timer.backOff();
  }

  /** One byte into a closed window (RFC 9293, 3.8.6.1), or a FIN. */
  probe(): void {
    this.timer.backOff();
    if (this.queue.length > 0) {
      this.#emit(this.una, TCP_ACK, this.queue.slice(0, 1, 1), 0);
      if (((this.una + 1 - this.max) | 0) > 0) this.max = (this.una + 1) | 0;
    } else if (this.hasEnded) {
      this.#emit(this.una, TCP_ACK | TCP_FIN, undefined, 0);
      if (((this.una + 1 - this.max) | 0) > 0) this.max = (this.una + 1) | 0;
    }
  }

  /** A segment that the guest has to answer, and that changes nothing. */
  keepAlive(): void {
    this.#emit((this.una - 1) | 0, TCP_ACK, undefined, 0);
  }

  #sent(count: number, now: number): void {
    const isNew = ((this.next + count - this.max) | 0) > 0;
    if (isNew && this.next === this.max && this.#timedAt < 0) {
      this.#timedAt = now;
      this.#timedSequence = this.next;
    }
    this.next = (this.next + count) | 0;
    if (isNew) this.max = this.next;
  }

  #addSack(start: number, end: number): void {
    const length = (end - start) | 0;
    if (length > 0 && ((start - this.una) | 0) > 0 && ((end - this.max) | 0) <= 0)
      this.#sacked.add(start, end);
  }

  #updateWindow(packet: Packet, window: number): void {
    const newer = (packet.sequence - this.#windowSequence) | 0;
    if (newer < 0 || (newer === 0 && ((packet.acknowledgement - this.#windowAck) | 0) < 0)) return;
    if (this.window === 0 && window > 0) this.timer.progressed();
    this.window = window;
    this.#windowSequence = packet.sequence;
    this.#windowAck = packet.acknowledgement;
  }

  #advance(ack: number, advance: number, now: number): void {
    const { queue } = this;
    const acked = Math.min(advance, queue.length);
    if (advance > queue.length && this.hasEnded) this.finAcked = true;
    queue.drop(acked);
    if (this.#isSuspect && ((ack - this.#suspectUntil) | 0) > 0) {
      this.#congestion.undoTimeout();
      this.next = this.max; // what is in flight need not be sent again
    }
    this.#isSuspect = false;
    this.una = ack;
    if (((this.next - ack) | 0) < 0) this.next = ack;
    this.#sacked.dropBefore(ack);
    this.#duplicates = 0;
    if (this.#timedAt >= 0 && ((ack - this.#timedSequence) | 0) > 0) {
      if (!this.#isRecovering) this.timer.sample(now - this.#timedAt);
      this.#timedAt = -1;
    }
    this.timer.progressed();
    if (!this.#isRecovering) {
      this.#congestion.grow(acked, this.window);
    } else if (((ack - this.#recoverUntil) | 0) >= 0) {
      this.#isRecovering = false;
      this.#congestion.recovered();
    } else {
      this.#congestion.partlyRecovered(acked);
      if (((this.#repairedUntil - ack) | 0) < 0) this.#repairedUntil = ack;
      this.#repair(true);
    }
  }

  #duplicate(): void {
    this.#duplicates++;
    if (this.#isRecovering) {
      this.#congestion.inflate();
      this.#repair(false);
      return;
    }
    const isLoss =
      this.#duplicates >= DUPLICATES_OF_A_LOSS || this.#sacked.bytes >= DUPLICATES_OF_A_LOSS * this.mss;
    if (!isLoss) return;
    this.#isRecovering = true;
    this.#recoverUntil = this.max;
    this.#repairedUntil = this.una;
    this.#timedAt = -1;
    this.#congestion.lost(this.inFlight);
    this.#repair(true);
  }

  /** Sends the next hole again. `isCertain`: the first hole is lost even if nothing behind it is known to have arrived. */
  #repair(isCertain: boolean): void {
    const sacked = this.#sacked;
    const { queue } = this;
    let start = this.#repairedUntil;
    let end = this.max;
    let isHole = isCertain && start === this.una;
    for (let n = 0; n < sacked.count; n++) {
      if (((sacked.start(n) - start) | 0) > 0) {
        end = sacked.start(n);
        isHole = true;
        break;
      }
      if (((sacked.end(n) - start) | 0) > 0) start = sacked.end(n);
    }
    if (!isHole || ((start - this.max) | 0) >= 0) return;
    const offset = (start - this.una) | 0;
    const count = Math.min(this.mss, (end - start) | 0, queue.length - offset);
    if (count > 0) {
      if (!this.#emit(start, TCP_ACK, queue.slice(offset, count, count), 0)) return;
      this.#repairedUntil = (start + count) | 0;
    } else if (offset === queue.length && this.hasEnded) {
      if (this.#emit(start, TCP_ACK | TCP_FIN, undefined, 0)) this.#repairedUntil = (start + 1) | 0;
    }
  }
}
