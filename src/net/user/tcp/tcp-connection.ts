/**
 * One TCP connection of the guest, and the stream at its other end: a socket of the host, or one of the program.
 *
 * Either side may have begun it. A guest's SYN is answered when the stream is open (`establish`), so that the guest
 * gets a refusal where the host gets one; or before (`accept`), if the first bytes are to decide. Bytes are copied once
 * on their way out, because a frame is only lent, and not at all on their way in.
 *
 * Source: RFC 9293, with the answers to segments out of the window of RFC 5961. Not built: urgent data (it is ordinary
 * data), timestamps, simultaneous open.
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Flow, FlowKey } from "../flow-table.ts";
import { type Packet, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from "../packet.ts";
import { SegmentWriter } from "./segment-writer.ts";
import type { TcpContext } from "./tcp-context.ts";
import {
  KEEP_ALIVE_MS,
  KEEP_ALIVE_PROBE_MS,
  MAX_EXPIRIES,
  MAX_KEEP_ALIVES,
  MAX_SYN_EXPIRIES,
  ORPHAN_MS,
  type TcpPhase,
  TIME_WAIT_MS,
} from "./tcp-phase.ts";
import { FULL_WINDOW, OUR_WINDOW_SCALE, SMALL_WINDOW, TcpReceiver } from "./tcp-receiver.ts";
import { TcpSender } from "./tcp-sender.ts";

const MIN_MSS = 88;

export interface TcpOwner {
  /** The connection has ended, and may be forgotten. */
  closed(connection: TcpConnection): void;
  /** It has something to send when the batch of frames ends. */
  dirty(connection: TcpConnection): void;
}

export class TcpConnection implements Flow {
  readonly key: FlowKey;
  phase: TcpPhase;
  /** When `expire` has something to do. */
  deadline = Number.POSITIVE_INFINITY;
  isDirty = false;
  /** The first bytes, of a connection that was accepted before its stream was known. */
  onEarlyData: ((data: Buffer) => void) | undefined;
  /** The guest has accepted or refused our SYN. */
  onOutcome: ((isOpen: boolean) => void) | undefined;
  /** Called when the connection ends before it has a stream. */
  onClosed: (() => void) | undefined;
  readonly #context: TcpContext;
  readonly #owner: TcpOwner;
  readonly #sender: TcpSender;
  readonly #receiver = new TcpReceiver();
  readonly #segments: SegmentWriter;
  readonly #initial: number;
  #stream: Duplex | undefined;
  #isStreamClosed = false;
  #isStreamPaused = false;
  /** Data of the guest that came before the stream. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #guestMss = 536;
  #mustAck = false;
  #isCorked = false;
  #keepAlives = 0;
  #accounted = 0;
  readonly #written = () => this.#drained();

  constructor(
    key: FlowKey,
    phase: "connecting" | "syn-sent",
    initial: number,
    context: TcpContext,
    owner: TcpOwner,
  ) {
    this.key = key;
    this.phase = phase;
    this.#context = context;
    this.#owner = owner;
    this.#segments = new SegmentWriter(key, context);
    this.#initial = initial;
    this.#sender = new TcpSender(
      (sequence, flags, body, gsoSize) => this.#emit(sequence, flags, body, gsoSize),
      context.writer.link,
      key.family,
      (initial + 1) | 0,
    );
  }

  /** The guest's SYN. */
  noteSyn(packet: Packet): void {
    this.#receiver.begin((packet.sequence + 1) | 0);
    this.#notePeer(packet);
  }

  /** Our SYN, for a stream that waits for the guest. */
  connect(stream: Duplex): void {
    this.attach(stream);
    this.#sendSyn();
  }

  /** Answers the guest's SYN; the stream is there, or follows by `attach`. */
  establish(stream?: Duplex): void {
    if (this.phase !== "connecting") {
      stream?.destroy();
      return;
    }
    if (stream !== undefined) this.attach(stream);
    this.phase = "syn-received";
    this.#sendSyn();
  }

  /** Connects the stream. Data that came before it is written to it. */
  attach(stream: Duplex): void {
    if (this.phase === "closed") {
      stream.destroy();
      return;
    }
    this.#stream = stream;
    this.onEarlyData = undefined;
    stream.on("data", (chunk: Uint8Array) => this.#received(chunk));
    stream.on("end", () => this.#ended());
    stream.on("error", () => {}); // "close" follows
    stream.on("close", () => this.#streamClosed());
    for (const data of this.#waiting) stream.write(data, this.#written);
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.#receiver.finReceived) stream.end();
    this.#account();
  }

  /** Refuses or ends the connection. */
  reset(): void {
    if (this.phase === "closed") return;
    this.#emit(this.phase === "connecting" ? 0 : this.#sender.next, TCP_RST | TCP_ACK, undefined, 0);
    this.#close();
  }

  /** Forgets the connection without a word to the guest. */
  drop(): void {
    this.#close();
  }

  /** Whether a new SYN of the same endpoints may begin another connection (RFC 9293, 3.10.7.4). */
  isReplacedBy({ sequence }: Packet): boolean {
    return this.phase === "time-wait" && ((sequence - this.#receiver.next) | 0) > 0;
  }

  /** A segment of the guest. */
  input(packet: Packet): void {
    this.#keepAlives = 0;
    switch (this.phase) {
      case "connecting":
        if ((packet.flags & TCP_RST) !== 0 && packet.sequence === this.#receiver.next) this.#close();
        return;
      case "syn-sent":
        this.#inputSynSent(packet);
        return;
      case "closed":
        return;
      default:
        this.#inputSynchronized(packet);
    }
  }

  /** Sends what the batch of frames made due. */
  flush(): void {
    this.isDirty = false;
    if (this.#isCorked) {
      this.#isCorked = false;
      this.#stream?.uncork();
    }
    if (this.phase === "closed") return;
    this.output();
  }

  /** Sends data that the windows allow, and an acknowledgement if none went with it. */
  output(): void {
    const sender = this.#sender;
    if (this.phase === "open") sender.output(this.#context.now());
    if (this.#mustAck && this.phase !== "connecting" && this.phase !== "syn-sent") {
      this.#emit(sender.next, TCP_ACK, undefined, 0);
    }
    this.#schedule();
  }

  retrySyn(): void {
    if (this.phase === "syn-sent") this.#sendSyn();
  }

  /** `deadline` has come. */
  expire(now: number): void {
    const sender = this.#sender;
    this.deadline = Number.POSITIVE_INFINITY;
    switch (this.phase) {
      case "syn-sent":
      case "syn-received":
        if (sender.timer.expiries >= MAX_SYN_EXPIRIES) {
          this.#close();
          return;
        }
        sender.timer.backOff();
        this.#sendSyn();
        return;
      case "time-wait":
        this.#close();
        return;
      case "open":
        break;
      default:
        return;
    }
    if (sender.timer.expiries >= MAX_EXPIRIES) {
      this.reset();
      return;
    }
    if (sender.mustProbe) sender.probe();
    else if (sender.inFlight !== 0) {
      sender.timedOut();
      sender.output(now);
    } else if (this.#isStreamClosed) {
      this.reset();
      return;
    } else {
      if (++this.#keepAlives > MAX_KEEP_ALIVES) {
        this.reset();
        return;
      }
      sender.keepAlive();
    }
    this.#schedule();
  }

  #inputSynSent(packet: Packet): void {
    const { flags } = packet;
    const acknowledges = (flags & TCP_ACK) !== 0 && packet.acknowledgement === ((this.#initial + 1) | 0);
    if (!acknowledges) return;
    if ((flags & TCP_RST) !== 0) {
      this.#close();
      return;
    }
    if ((flags & TCP_SYN) === 0) return;
    this.noteSyn(packet);
    this.#open(packet);
    this.#mustAck = true;
    this.#markDirty();
  }

  #inputSynchronized(packet: Packet): void {
    const { flags, sequence } = packet;
    const receiver = this.#receiver;
    if ((flags & TCP_SYN) !== 0) {
      // The guest sent its SYN again, or forgot this connection: it hears where we are.
      if (this.phase === "syn-received") this.#sendSyn();
      else this.#acknowledge();
      return;
    }
    const length = packet.dataBytes + ((flags & TCP_FIN) !== 0 ? 1 : 0);
    const isAcceptable = receiver.isAcceptable(sequence, length);
    if ((flags & TCP_RST) !== 0) {
      if (sequence === receiver.next) this.#close();
      else if (isAcceptable) this.#acknowledge(); // RFC 5961, 3.2
      return;
    }
    if ((flags & TCP_ACK) === 0) return;
    if (!isAcceptable) {
      this.#acknowledge();
      // A full window must not keep acknowledgements out (RFC 9293, 3.10.7.4).
      if (sequence !== receiver.next) return;
    }
    if (this.phase === "syn-received") {
      if (packet.acknowledgement !== ((this.#initial + 1) | 0)) {
        this.#emit(packet.acknowledgement, TCP_RST, undefined, 0);
        return;
      }
      this.#open(packet);
    }
    if (!this.#sender.acknowledge(packet, this.#context.now())) {
      this.#acknowledge();
      return;
    }
    if (isAcceptable && length > 0) this.#receiveData(packet);
    this.#account();
    this.#resumeStream();
    this.#markDirty();
    this.#finishIfEnded();
  }

  #open(packet: Packet): void {
    const sender = this.#sender;
    const hasScale = this.#segments.guestScale >= 0;
    this.phase = "open";
    sender.timer.progressed();
    // The window of a SYN is never scaled.
    const isSyn = (packet.flags & TCP_SYN) !== 0;
    const scale = hasScale ? this.#segments.guestScale : 0;
    const window = isSyn ? packet.window : packet.window << scale;
    sender.begin(
      Math.min(this.#guestMss, this.#segments.mss),
      scale,
      window,
      packet.sequence,
      packet.acknowledgement,
    );
    this.onOutcome?.(true);
    this.onOutcome = undefined;
    this.#markDirty();
  }

  #notePeer(packet: Packet): void {
    this.#guestMss = Math.max(packet.mss === 0 ? 536 : packet.mss, MIN_MSS);
    this.#segments.guestScale = packet.windowScale;
    this.#segments.guestKnowsSack = packet.sackPermitted;
  }

  #receiveData(packet: Packet): void {
    const receiver = this.#receiver;
    const { bytes, dataStart, end, sequence, dataBytes } = packet;
    this.#mustAck = true;
    if ((packet.flags & TCP_FIN) !== 0) receiver.noteFin((sequence + dataBytes) | 0);
    if (dataBytes > 0) {
      const fresh = receiver.accept(sequence, bytes.subarray(dataStart, end));
      if (fresh !== undefined) this.#deliver(Buffer.from(fresh)); // a copy: the frame is only lent
      for (let early = receiver.takeEarly(); early !== undefined; early = receiver.takeEarly()) {
        this.#deliver(Buffer.from(early.buffer, early.byteOffset, early.length));
      }
    }
    if (receiver.takeFin()) this.#stream?.end();
  }

  #deliver(data: Buffer): void {
    const stream = this.#stream;
    if (stream === undefined) {
      this.#waiting.push(data);
      this.#waitingBytes += data.length;
      this.onEarlyData?.(this.#waiting.length === 1 ? data : Buffer.concat(this.#waiting));
      return;
    }
    if (this.#isStreamClosed || !stream.writable) {
      // Nobody reads this. What the stream said before it ended still goes to the guest.
      if (!this.#sender.hasEnded || this.#sender.isIdle) this.reset();
      return;
    }
    if (!this.#isCorked) {
      this.#isCorked = true;
      stream.cork();
    }
    stream.write(data, this.#written);
  }

  /** The stream has taken data: the window may be larger now. */
  #drained(): void {
    if (this.phase === "closed") return;
    this.#account();
    if (!this.#receiver.wouldGrow(this.#freeBytes, this.#sender.mss)) return;
    this.#mustAck = true;
    if (!this.isDirty) this.output();
  }

  /** Data for the guest. */
  #received(chunk: Uint8Array): void {
    if (this.phase === "closed") return;
    this.#sender.queue.push(chunk);
    this.#account();
    if (this.#sender.queue.length >= this.#limit && !this.#isStreamPaused) {
      this.#isStreamPaused = true;
      this.#stream?.pause();
    }
    if (!this.isDirty) this.output();
  }

  #resumeStream(): void {
    if (!this.#isStreamPaused || this.#sender.queue.length > this.#limit / 2) return;
    this.#isStreamPaused = false;
    this.#stream?.resume();
  }

  #ended(): void {
    this.#sender.hasEnded = true;
    if (!this.isDirty) this.output();
  }

  #streamClosed(): void {
    this.#isStreamClosed = true;
    if (this.phase === "closed" || this.phase === "time-wait") return;
    // A stream that ends before its time is an error, which the guest gets to know; so is one from outside
    // that closes before the guest answers. One that has ended is read to its end, also when the guest's
    // handshake takes longer than the stream.
    if (!this.#sender.hasEnded || this.phase === "syn-sent") this.reset();
    else this.#schedule();
  }

  #finishIfEnded(): void {
    if (this.phase !== "open" || !this.#receiver.finReceived || !this.#sender.finAcked) return;
    this.phase = "time-wait";
    this.#schedule();
  }

  #close(): void {
    if (this.phase === "closed") return;
    const hadEnded = this.phase === "time-wait";
    this.phase = "closed";
    this.deadline = Number.POSITIVE_INFINITY;
    const stream = this.#stream;
    // A stream whose halves have ended closes by itself when its data is written.
    if (stream !== undefined && !hadEnded && !stream.destroyed) {
      if (stream instanceof Socket) stream.resetAndDestroy();
      else stream.destroy();
    }
    this.#sender.queue.clear();
    this.#receiver.early.clear();
    this.#waiting = [];
    this.#context.account(-this.#accounted);
    this.#accounted = 0;
    this.onOutcome?.(false);
    this.onOutcome = undefined;
    this.onClosed?.();
    this.onClosed = undefined;
    this.#owner.closed(this);
  }

  /** At the end of the batch. */
  #acknowledge(): void {
    this.#mustAck = true;
    this.#markDirty();
  }

  #markDirty(): void {
    if (this.isDirty || this.phase === "closed") return;
    this.isDirty = true;
    this.#owner.dirty(this);
  }

  get #limit(): number {
    return this.#context.isPressed ? SMALL_WINDOW : FULL_WINDOW;
  }

  get #outgoingBytes(): number {
    return (this.#stream?.writableLength ?? 0) + this.#waitingBytes + this.#receiver.early.bytes;
  }

  get #freeBytes(): number {
    return this.#limit - this.#outgoingBytes;
  }

  #account(): void {
    const now = this.#outgoingBytes + this.#sender.queue.length;
    this.#context.account(now - this.#accounted);
    this.#accounted = now;
  }

  #schedule(): void {
    const delay = this.#delayMs();
    if (delay === Number.POSITIVE_INFINITY) return;
    this.deadline = this.#context.now() + delay;
    this.#context.wakeAt(this.deadline);
  }

  #delayMs(): number {
    const sender = this.#sender;
    switch (this.phase) {
      case "syn-sent":
      case "syn-received":
        return sender.timer.rtoMs;
      case "time-wait":
        return TIME_WAIT_MS;
      case "open":
        break;
      default:
        return Number.POSITIVE_INFINITY;
    }
    if (sender.inFlight !== 0 || sender.mustProbe) return sender.timer.rtoMs;
    if (this.#isStreamClosed) return ORPHAN_MS;
    return this.#keepAlives > 0 ? KEEP_ALIVE_PROBE_MS : KEEP_ALIVE_MS;
  }

  #sendSyn(): void {
    const flags = this.phase === "syn-sent" ? TCP_SYN : TCP_SYN | TCP_ACK;
    this.#emit(this.#initial, flags, undefined, 0);
    this.#schedule();
  }

  /** Sends one segment. */
  #emit(sequence: number, flags: number, body: Uint8Array | undefined, gsoSize: number): boolean {
    const hasScale = (flags & TCP_SYN) === 0 && this.#segments.guestScale >= 0;
    const scale = hasScale ? OUR_WINDOW_SCALE : 0;
    // Without scaling, no more can be announced.
    const free = hasScale ? this.#freeBytes : Math.min(this.#freeBytes, 65_535);
    const receiver = this.#receiver;
    const window = receiver.offer(free, this.#sender.mss, scale);
    const isTaken = this.#segments.send(sequence, flags, receiver, window, body, gsoSize);
    if (!isTaken) this.#context.blocked();
    else if ((flags & TCP_ACK) !== 0) this.#mustAck = false;
    return isTaken;
  }
}
