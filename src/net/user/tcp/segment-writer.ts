/** Writes the segments of one TCP connection: header, options, and what the guest's options allow. */
import { put16, put32 } from "../bytes.ts";
import type { FlowKey } from "../flow-table.ts";
import { TCP, TCP_ACK, TCP_SYN } from "../packet.ts";
import type { TcpContext } from "./tcp-context.ts";
import { OUR_WINDOW_SCALE, type TcpReceiver } from "./tcp-receiver.ts";

/** Four blocks fit a header without other options. */
const MAX_SACK_BLOCKS = 4;

export class SegmentWriter {
  /** The guest's window scale; -1: it sent none, and gets none. */
  guestScale = -1;
  guestKnowsSack = false;
  readonly #key: FlowKey;
  readonly #guest: Uint8Array;
  readonly #outer: Uint8Array;
  readonly #context: TcpContext;

  constructor(key: FlowKey, context: TcpContext) {
    this.#key = key;
    this.#guest = key.guest;
    this.#outer = key.outer;
    this.#context = context;
  }

  /** The longest segment that the card carries. */
  get mss(): number {
    return this.#context.writer.link.mtu - (this.#key.family === 4 ? 40 : 60);
  }

  /** False: there is no room for it. */
  send(
    sequence: number,
    flags: number,
    receiver: TcpReceiver,
    window: number,
    body: Uint8Array | undefined,
    gsoSize: number,
  ): boolean {
    const { writer, mac } = this.#context;
    const { bytes } = writer;
    const at = writer.beginIp(this.#context.macOf(this.#guest), mac, this.#outer, this.#guest, TCP);
    put16(bytes, at, this.#key.outerPort);
    put16(bytes, at + 2, this.#key.guestPort);
    put32(bytes, at + 4, sequence);
    put32(bytes, at + 8, (flags & TCP_ACK) !== 0 ? receiver.next : 0);
    bytes[at + 13] = flags;
    put16(bytes, at + 14, window);
    put32(bytes, at + 16, 0);
    const optionBytes =
      (flags & TCP_SYN) !== 0 ? this.#putSynOptions(at + 20, flags) : this.#putSack(at + 20, receiver);
    const headerBytes = 20 + optionBytes;
    bytes[at + 12] = (headerBytes >> 2) << 4;
    return writer.finishTcp(headerBytes, body, gsoSize);
  }

  /** MSS; window scale and SACK permitted, unless this answers a SYN without them. */
  #putSynOptions(at: number, flags: number): number {
    const { bytes } = this.#context.writer;
    const isAnswer = (flags & TCP_ACK) !== 0;
    put16(bytes, at, 0x0204);
    put16(bytes, at + 2, this.mss);
    let length = 4;
    if (!isAnswer || this.guestScale >= 0) {
      put32(bytes, at + length, 0x01_03_03_00 | OUR_WINDOW_SCALE);
      length += 4;
    }
    if (!isAnswer || this.guestKnowsSack) {
      put32(bytes, at + length, 0x01_01_04_02);
      length += 4;
    }
    return length;
  }

  #putSack(at: number, { early }: TcpReceiver): number {
    if (early.isEmpty || !this.guestKnowsSack) return 0;
    const { bytes } = this.#context.writer;
    let blocks = 0;
    early.ranges((start, end) => {
      if (blocks === MAX_SACK_BLOCKS) return;
      put32(bytes, at + 4 + 8 * blocks, start);
      put32(bytes, at + 8 + 8 * blocks, end);
      blocks++;
    });
    put32(bytes, at, 0x01_01_05_00 | (2 + 8 * blocks));
    return 4 + 8 * blocks;
  }
}
