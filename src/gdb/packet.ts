/**
 * Packets of GDB's remote serial protocol, in and out of a stream of bytes.
 *
 * Source: GDB manual, Appendix E.1 "Overview". A packet's body is a string here
 * whose characters are its bytes (Latin-1), with escapes undone.
 *
 * Not implemented: run-length encoding, which is optional for a stub.
 */
import { hexDigits } from "../base/hex.ts";

/** The largest body in bytes, as sent: qSupported announces it as PacketSize. Longer ones are refused. */
export const MAX_PACKET = 0x4000;

const START = 0x24; // $
const END = 0x23; // #
const ESCAPE = 0x7d; // }
const RUN_LENGTH = 0x2a; // *
const ESCAPED = 0x20; // what an escaped byte is XORed with
const ACK = 0x2b; // +
const NACK = 0x2d; // -
const CTRL_C = 0x03;

/** The other side accepted the last packet, or requests it again; Ctrl-C; a packet, or a damaged one. */
export type Incoming =
  | { readonly kind: "ack" | "nack" | "interrupt" | "damaged" }
  | { readonly kind: "packet"; readonly body: string };

/** The bytes of a packet. */
export function frame(body: string): Uint8Array {
  const bytes = [START];
  let sum = 0;
  const put = (byte: number) => {
    bytes.push(byte);
    sum += byte;
  };
  for (let i = 0; i < body.length; i++) {
    const byte = body.charCodeAt(i) & 0xff;
    if (byte === START || byte === END || byte === ESCAPE || byte === RUN_LENGTH) {
      put(ESCAPE);
      put(byte ^ ESCAPED);
    } else {
      put(byte);
    }
  }
  bytes.push(END, ...digits(sum & 0xff));
  return Uint8Array.from(bytes);
}

export const ACKNOWLEDGE = Uint8Array.of(ACK);
export const REJECT = Uint8Array.of(NACK);

/** Finds packets in bytes that arrive in pieces of any size. Stores at most MAX_PACKET bytes. */
export class PacketReader {
  /** The bytes of the packet that is being read. */
  readonly #body = new Uint8Array(MAX_PACKET);
  #length = 0;
  #sum = 0;
  #state: "outside" | "body" | "checksum" = "outside";
  #tooLong = false;
  #checksum = "";

  *push(bytes: Uint8Array): Generator<Incoming> {
    for (const byte of bytes) {
      switch (this.#state) {
        case "outside":
          if (byte === START) this.#begin();
          else if (byte === ACK) yield { kind: "ack" };
          else if (byte === NACK) yield { kind: "nack" };
          else if (byte === CTRL_C) yield { kind: "interrupt" };
          break;
        case "body":
          // A new packet begins: the end of the last one was lost.
          if (byte === START) this.#begin();
          else if (byte === END) this.#state = "checksum";
          else this.#take(byte);
          break;
        case "checksum":
          this.#checksum += String.fromCharCode(byte);
          if (this.#checksum.length === 2) {
            this.#state = "outside";
            yield this.#finish();
          }
      }
    }
  }

  #begin(): void {
    this.#state = "body";
    this.#length = 0;
    this.#sum = 0;
    this.#tooLong = false;
    this.#checksum = "";
  }

  #take(byte: number): void {
    this.#tooLong ||= this.#length === MAX_PACKET;
    if (this.#tooLong) return;
    this.#body[this.#length++] = byte;
    this.#sum = (this.#sum + byte) & 0xff;
  }

  #finish(): Incoming {
    const isWhole =
      /^[0-9a-f]{2}$/i.test(this.#checksum) && Number.parseInt(this.#checksum, 16) === this.#sum;
    if (!isWhole || this.#tooLong) return { kind: "damaged" };
    const bytes = this.#body.subarray(0, this.#length);
    let body = "";
    for (let i = 0; i < bytes.length; i++) {
      const isEscape = bytes[i] === ESCAPE && i + 1 < bytes.length;
      body += String.fromCharCode(isEscape ? bytes[++i] ^ ESCAPED : bytes[i]);
    }
    return { kind: "packet", body };
  }
}

function digits(byte: number): number[] {
  return [...hexDigits(byte, 2)].map((digit) => digit.charCodeAt(0));
}
