/**
 * A guest that writes to a serial port and reads from it, without a machine: the real
 * console ring, a receiver of any size, and the messages between them.
 */
import { ByteRing } from "../../src/base/ring.ts";
import type { SerialPort } from "../../src/vm/serial-port.ts";

/** The longest wait of a producer before a test considers it stuck. */
const STUCK_MS = 5_000;

export class ConsoleGuest {
  readonly ring: ByteRing;
  /** All bytes that were received. */
  readonly received: number[] = [];
  readonly #port: SerialPort;
  #room: number;

  /** @param room bytes that the receiver accepts before it reports that it is full */
  constructor(port: SerialPort, { capacity = 4096, room = Number.POSITIVE_INFINITY } = {}) {
    this.#port = port;
    this.#room = room;
    this.ring = new ByteRing(new Int32Array(new SharedArrayBuffer(ByteRing.words(capacity) * 4)));
  }

  /** Connects this guest to the port. */
  plug(): this {
    this.#port.plug(this.ring, (byte) => {
      if (this.#room === 0) return false;
      this.#room--;
      this.received.push(byte);
      return true;
    });
    return this;
  }

  /** Sends what fits now, as a vCPU does; returns the number of bytes. */
  send(bytes: Uint8Array | string): number {
    const data = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    let sent = 0;
    while (sent < data.length && this.ring.put(data[sent])) {
      sent++;
      // The message to the main thread arrives later, like any other.
      if (this.ring.takeArmed()) setImmediate(() => this.#port.wake());
    }
    return sent;
  }

  /** Sends everything, and waits for room as often as necessary. @returns how often it waited. */
  async sendAll(bytes: Uint8Array): Promise<number> {
    let waits = 0;
    let deadline = Date.now() + STUCK_MS;
    for (let sent = 0; sent < bytes.length; ) {
      const count = this.send(bytes.subarray(sent));
      sent += count;
      if (count > 0) deadline = Date.now() + STUCK_MS;
      if (Date.now() > deadline) throw new Error(`stuck after ${sent} of ${bytes.length} bytes`);
      if (sent === bytes.length) break;
      waits++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return waits;
  }

  /** Waits until the ring is full and nothing moves: the guest is blocked. */
  async held(): Promise<void> {
    for (let before = -1; before !== this.#port.bytesOut || this.ring.length < this.ring.capacity; ) {
      before = this.#port.bytesOut;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Makes room for more bytes in the receiver, and reports it. */
  makeRoom(bytes: number): void {
    this.#room += bytes;
    this.#port.receiverReady();
  }

  get receivedText(): string {
    return Buffer.from(this.received).toString();
  }
}

/** Bytes that reveal missing and misplaced ones. */
export function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i ^ (i >>> 8) ^ (i >>> 16)) & 0xff);
}
