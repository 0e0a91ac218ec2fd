/**
 * Frames in a file that Wireshark and tcpdump read: pcapng (draft-ietf-opsawg-pcapng). A frame whose checksum was left to
 * its receiver is written as it crossed.
 */
import { createWriteStream } from "node:fs";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { GuestLink, Network } from "./link.ts";
import type { ConnectNetwork } from "./program-network.ts";

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const OPTION_INTERFACE_NAME = 2;
const OPTION_FLAGS = 2;
const INBOUND = 1;
const OUTBOUND = 2;
/** A disk that is slower than the network: frames are left out rather than kept. */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;

/** A pcapng file with an interface for each card. */
export class CaptureFile {
  readonly #file: Writable;
  /** Frames that were left out because the file could not be written fast enough. */
  lost = 0;

  /** @param cards names of the interfaces */
  constructor(file: string | Writable, cards: readonly string[] = ["net"]) {
    this.#file = typeof file === "string" ? createWriteStream(file) : file;
    this.#file.on("error", () => {}); // `close` reports it
    this.#block(
      SECTION_HEADER,
      (view) => {
        view.setUint32(0, BYTE_ORDER_MAGIC, true);
        view.setUint16(4, 1, true);
        view.setBigInt64(8, -1n, true); // of unknown length
      },
      16,
    );
    for (const card of cards) this.#interface(Buffer.from(card));
  }

  /**
   * @param isInbound to the guest
   * @param card index of the interface
   * @param timeMs since 1970
   */
  frame(
    isInbound: boolean,
    head: Uint8Array,
    body?: Uint8Array,
    card = 0,
    timeMs = performance.timeOrigin + performance.now(),
  ): void {
    if (this.#file.writableLength > MAX_QUEUED_BYTES || this.#file.destroyed) {
      this.lost++;
      return;
    }
    const length = head.length + (body?.length ?? 0);
    const padded = (length + 3) & ~3;
    const microseconds = Math.round(timeMs * 1000);
    this.#block(
      ENHANCED_PACKET,
      (view, bytes) => {
        view.setUint32(0, card, true);
        view.setUint32(4, Math.floor(microseconds / 2 ** 32), true);
        view.setUint32(8, microseconds % 2 ** 32, true);
        view.setUint32(12, length, true);
        view.setUint32(16, length, true);
        bytes.set(head, 20);
        if (body !== undefined) bytes.set(body, 20 + head.length);
        view.setUint16(20 + padded, OPTION_FLAGS, true);
        view.setUint16(22 + padded, 4, true);
        view.setUint32(24 + padded, isInbound ? INBOUND : OUTBOUND, true);
      },
      20 + padded + 12,
    );
  }

  /** Completes the file. @throws if it could not be written */
  async close(): Promise<void> {
    this.#file.end();
    await finished(this.#file);
  }

  #interface(name: Uint8Array): void {
    const padded = (name.length + 3) & ~3;
    this.#block(
      INTERFACE_DESCRIPTION,
      (view, bytes) => {
        view.setUint16(0, LINKTYPE_ETHERNET, true);
        view.setUint32(4, 0, true); // frames are whole
        view.setUint16(8, OPTION_INTERFACE_NAME, true);
        view.setUint16(10, name.length, true);
        bytes.set(name, 12);
      },
      8 + 4 + padded + 4,
    );
  }

  #block(type: number, fill: (view: DataView, bytes: Uint8Array) => void, length: number): void {
    const block = Buffer.alloc(12 + length);
    block.writeUInt32LE(type, 0);
    block.writeUInt32LE(block.length, 4);
    block.writeUInt32LE(block.length, 8 + length);
    const body = block.subarray(8, 8 + length);
    fill(new DataView(body.buffer, body.byteOffset, body.length), body);
    this.#file.write(block);
  }
}

/** The same network, whose frames are also written to a file until the machine ends. */
export function captured(connect: ConnectNetwork, file: CaptureFile): ConnectNetwork {
  return async (link) => {
    const network = await connect(watched(link, file));
    const seen: Network = {
      input: (frame, offload) => {
        file.frame(false, frame);
        network.input(frame, offload);
      },
      batchEnd: () => network.batchEnd?.(),
      room: () => network.room(),
      reset: () => network.reset(),
      pause: () => network.pause?.(),
      resume: () => network.resume?.(),
      close: async () => {
        await network.close();
        await file.close();
      },
    };
    return seen;
  };
}

function watched(link: GuestLink, file: CaptureFile): GuestLink {
  return {
    mtu: link.mtu,
    get accepts() {
      return link.accepts;
    },
    send: (head, body, offload) => {
      const isTaken = link.send(head, body, offload);
      if (isTaken) file.frame(true, head, body);
      return isTaken;
    },
  };
}
