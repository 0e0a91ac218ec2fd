/**
 * One vsock connection, as a Node stream. The guest sends no more than it has credit
 * for, which is what this side has taken out of its buffer; the same holds for what is
 * written here.
 *
 * Source: VIRTIO 1.2, 5.10.6.3 (Buffer Space Management), 5.10.6.6 (Stream Sockets).
 */
import { Duplex } from "node:stream";
import {
  MAX_DATA_BYTES,
  OP_CREDIT_REQUEST,
  OP_CREDIT_UPDATE,
  OP_REQUEST,
  OP_RESPONSE,
  OP_RST,
  OP_RW,
  OP_SHUTDOWN,
  type PacketHeader,
  SHUTDOWN_RECEIVE,
  SHUTDOWN_SEND,
} from "./packet.ts";

/** Bytes that the guest may send before the reader takes them. */
const BUFFER_BYTES = 262_144;
/** The guest gets to know of taken bytes when there are so many. */
const UPDATE_BYTES = BUFFER_BYTES / 4;

/** What a connection needs of the host's side of the device. */
export interface VsockWire {
  /** False if there is no room now: `pump` is called when there is. */
  send(stream: VsockStream, op: number, flags: number, data?: Uint8Array): boolean;
  /** The connection is no longer one. @param reset the guest is to be notified of that */
  forget(stream: VsockStream, reset: boolean): void;
}

export class VsockError extends Error {
  override readonly name = "VsockError";
  /** ECONNREFUSED: nobody listens at that port of the guest. ECONNRESET: it, or its machine, ended the connection. */
  readonly code: "ECONNREFUSED" | "ECONNRESET" | "EPIPE" | "EADDRINUSE" | "ENOTSUP" | "ESTATE";

  constructor(code: VsockError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** Why a connection fails. `reset`: the guest is to be notified. */
interface Problem {
  readonly code: VsockError["code"];
  readonly message: string;
  readonly reset: boolean;
}

const NO_READER = "the guest no longer reads from the connection";

const RESET = { code: "ECONNRESET", reset: true } as const;

interface Writing {
  readonly chunk: Uint8Array;
  readonly done: (error?: Error | null) => void;
  sent: number;
}

/** Emits "connect" when the guest has accepted. */
export class VsockStream extends Duplex {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly #wire: VsockWire;
  /** Sent before all else: REQUEST or RESPONSE; 0: it has been. */
  #greeting: number;
  #isOpen: boolean;
  #isGone = false;
  /** Of the guest's buffer. */
  #peerBytes = 0;
  #peerTaken = 0;
  #sent = 0;
  #askedForCredit = false;
  #writing: Writing | undefined;
  #finishing: ((error?: Error | null) => void) | undefined;
  #hasFinished = false;
  /** What the reader has not taken, and counts of all bytes: received, taken, and taken as the guest knows. */
  readonly #waiting: Uint8Array[] = [];
  #received = 0;
  #taken = 0;
  #announced = 0;
  #guestHasEnded = false;
  #wants = false;

  /** @param isOurs this side begins */
  constructor(wire: VsockWire, hostPort: number, guestPort: number, isOurs: boolean, allowHalfOpen: boolean) {
    super({ allowHalfOpen, decodeStrings: true });
    this.#wire = wire;
    this.hostPort = hostPort;
    this.guestPort = guestPort;
    this.#greeting = isOurs ? OP_REQUEST : OP_RESPONSE;
    this.#isOpen = !isOurs;
  }

  /** Bytes of this side's buffer, and how many were taken out of it: part of each packet. */
  get bufAlloc(): number {
    return BUFFER_BYTES;
  }

  get fwdCnt(): number {
    return this.#taken >>> 0;
  }

  /** The guest's request, which this side accepts. */
  greeted({ bufAlloc, fwdCnt }: PacketHeader): void {
    this.#peerBytes = bufAlloc;
    this.#peerTaken = fwdCnt;
    this.pump();
  }

  /** A packet of the guest. */
  input({ op, flags, bufAlloc, fwdCnt }: PacketHeader, data: Uint8Array): void {
    this.#peerBytes = bufAlloc;
    this.#peerTaken = fwdCnt;
    this.#askedForCredit = false;
    const problem = this.#take(op, flags, data);
    if (problem !== undefined) this.#fail(problem.code, problem.message, problem.reset);
    this.pump();
  }

  /** The guest, or its driver, has gone. */
  lost(why: string): void {
    this.#fail("ECONNRESET", why, false);
  }

  /** Sends what can be sent. */
  pump(): void {
    if (this.#isGone) return;
    if (this.#greeting !== 0) {
      if (!this.#wire.send(this, this.#greeting, 0)) return;
      this.#announced = this.#taken;
      this.#greeting = 0;
    }
    if (!this.#isOpen) return;
    if (!this.#sendData() || !this.#sendEnd()) return;
    if (this.#announced >= 0 && this.#taken - this.#announced < UPDATE_BYTES) return;
    if (this.#wire.send(this, OP_CREDIT_UPDATE, 0)) this.#announced = this.#taken;
  }

  override _read(): void {
    this.#wants = true;
    this.#give();
    this.pump();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#hasFinished || this.#isGone) {
      done(new VsockError("EPIPE", NO_READER));
      return;
    }
    this.#writing = { chunk, done, sent: 0 };
    this.pump();
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#hasFinished || this.#isGone) {
      done();
      return;
    }
    this.#finishing = done;
    this.pump();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#isGone) {
      this.#isGone = true;
      const isClean = this.#guestHasEnded && this.#hasFinished && error === null;
      // 5.10.6.6.2: without a word both sides would keep it.
      const isSaid = isClean && this.#wire.send(this, OP_SHUTDOWN, SHUTDOWN_RECEIVE | SHUTDOWN_SEND);
      this.#wire.forget(this, !isSaid);
    }
    this.#writing = undefined;
    this.#finishing = undefined;
    this.#waiting.length = 0;
    done(error);
  }

  /** What a packet of the guest means. @returns why the connection fails */
  #take(op: number, flags: number, data: Uint8Array): Problem | undefined {
    switch (op) {
      case OP_RESPONSE:
        if (this.#isOpen) return { ...RESET, message: "the guest accepted a connection twice" };
        this.#isOpen = true;
        this.emit("connect");
        return undefined;
      case OP_RW:
        if (!this.#isOpen || this.#guestHasEnded || this.#unread + data.length > BUFFER_BYTES)
          return { ...RESET, message: "the guest sent what it must not" };
        this.#received += data.length;
        this.#waiting.push(Uint8Array.from(data));
        if (this.#wants) this.#give();
        return undefined;
      case OP_SHUTDOWN:
        this.#shutDown(flags);
        return undefined;
      case OP_CREDIT_REQUEST:
        this.#announced = -1;
        return undefined;
      case OP_CREDIT_UPDATE:
        return undefined;
      case OP_RST: {
        if (!this.#isOpen) {
          const message = `the guest refuses connections at vsock port ${this.guestPort}`;
          return { code: "ECONNREFUSED", message, reset: false };
        }
        // As the answer to the end of both directions.
        if (!this.#guestHasEnded || !this.#hasFinished)
          return { ...RESET, message: "the guest ended the connection", reset: false };
        this.#isGone = true;
        this.#wire.forget(this, false);
        return undefined;
      }
      default:
        return { ...RESET, message: `the guest sent a packet with the operation ${op}` };
    }
  }

  get #unread(): number {
    return this.#received - this.#taken;
  }

  /** Bytes that the guest has room for. */
  get #credit(): number {
    const inFlight = (this.#sent - this.#peerTaken) >>> 0;
    return Math.max(0, this.#peerBytes - inFlight);
  }

  #give(): void {
    while (this.#wants) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.#taken += chunk.length;
      this.#wants = this.push(chunk);
    }
    if (this.#waiting.length === 0 && this.#guestHasEnded) this.push(null);
  }

  /** False if something of the present chunk is left. */
  #sendData(): boolean {
    const writing = this.#writing;
    if (writing === undefined) return true;
    const { chunk } = writing;
    while (writing.sent < chunk.length) {
      const part = Math.min(this.#credit, chunk.length - writing.sent, MAX_DATA_BYTES);
      if (part === 0) {
        // The guest need not announce that its buffer has another size now.
        if (!this.#askedForCredit) this.#askedForCredit = this.#wire.send(this, OP_CREDIT_REQUEST, 0);
        return false;
      }
      if (!this.#wire.send(this, OP_RW, 0, chunk.subarray(writing.sent, writing.sent + part))) return false;
      this.#announced = this.#taken;
      writing.sent += part;
      this.#sent = (this.#sent + part) >>> 0;
    }
    this.#writing = undefined;
    writing.done();
    return this.#writing === undefined;
  }

  #sendEnd(): boolean {
    const finishing = this.#finishing;
    if (finishing === undefined || this.#hasFinished) return true;
    if (!this.#wire.send(this, OP_SHUTDOWN, SHUTDOWN_SEND)) return false;
    this.#hasFinished = true;
    this.#finishing = undefined;
    finishing();
    return true;
  }

  #shutDown(flags: number): void {
    if ((flags & SHUTDOWN_SEND) !== 0 && !this.#guestHasEnded) {
      this.#guestHasEnded = true;
      if (this.#waiting.length === 0) this.push(null);
    }
    if ((flags & SHUTDOWN_RECEIVE) === 0) return;
    if (this.#guestHasEnded) {
      // The guest waits for this before it uses the port again.
      this.#isGone = true;
      this.#wire.forget(this, true);
    }
    this.#stopWriting();
  }

  /** The guest does not take anything any more. */
  #stopWriting(): void {
    const error = new VsockError("EPIPE", NO_READER);
    const writing = this.#writing;
    const finishing = this.#finishing;
    this.#hasFinished = true;
    this.#writing = undefined;
    this.#finishing = undefined;
    writing?.done(error);
    finishing?.();
    if (writing === undefined && !this.writableEnded) this.end();
  }

  #fail(code: VsockError["code"], message: string, reset: boolean): void {
    if (!this.#isGone) {
      this.#isGone = true;
      this.#wire.forget(this, reset);
    }
    this.destroy(new VsockError(code, message));
  }
}
