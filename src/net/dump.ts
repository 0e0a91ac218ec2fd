/**
 * Frames of a card in a file that tcpdump and Wireshark read: the older pcap format, as
 * QEMU's filter-dump. On the io thread, whatever the card is connected to. Each frame
 * is one write to the page cache, so nothing is lost when the process ends.
 *
 * Source: draft-ietf-opsawg-pcap. A checksum that was left to the receiver is written
 * as it crossed.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import type { Pieces } from "../base/pieces.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { NetBackend } from "./backend.ts";
import { copyFrame } from "./guest-frame.ts";
import { MAX_FRAME_BYTES, NET_HEADER_BYTES } from "./offloads.ts";

const MAGIC = 0xa1b2c3d4; // times are in microseconds
const LINKTYPE_ETHERNET = 1;
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;

/** An open file for frames, as it is sent to the io thread. */
export interface DumpData {
  readonly fd: number;
  /** Of each frame, at most. */
  readonly maxBytes: number;
}

/** Makes the file. @throws an error of Node's, if it cannot be made */
export function openDump(file: string, maxBytes: number): DumpData & { close(): void } {
  const fd = openSync(file, "w");
  const header = new DataView(new ArrayBuffer(FILE_HEADER_BYTES));
  header.setUint32(0, MAGIC, true);
  header.setUint16(4, 2, true); // version 2.4
  header.setUint16(6, 4, true);
  header.setUint32(16, maxBytes, true);
  header.setUint32(20, LINKTYPE_ETHERNET, true);
  writeSync(fd, new Uint8Array(header.buffer));
  return { fd, maxBytes, close: () => closeSync(fd) };
}

export class DumpBackend implements NetBackend {
  readonly arrivals: readonly object[];
  readonly vacancies: readonly object[] | undefined;
  readonly #backend: NetBackend;
  readonly #memory: GuestMemory;
  readonly #fd: number;
  readonly #maxBytes: number;
  readonly #record = new Uint8Array(RECORD_HEADER_BYTES + MAX_FRAME_BYTES);
  readonly #view = new DataView(this.#record.buffer);

  constructor(backend: NetBackend, memory: GuestMemory, { fd, maxBytes }: DumpData) {
    this.arrivals = backend.arrivals;
    this.vacancies = backend.vacancies;
    this.#backend = backend;
    this.#memory = memory;
    this.#fd = fd;
    this.#maxBytes = maxBytes;
  }

  send(pair: number, header: Uint8Array, frame: Pieces): number {
    const copied = header.subarray(NET_HEADER_BYTES);
    this.#record.set(copied, RECORD_HEADER_BYTES);
    const end = copyFrame(this.#memory, frame, this.#record, RECORD_HEADER_BYTES + copied.length);
    const result = this.#backend.send(pair, header, frame);
    if (result >= 0) this.#write(end - RECORD_HEADER_BYTES);
    return result;
  }

  receive(pair: number, into: Uint8Array): number {
    const length = this.#backend.receive(pair, into);
    if (length > NET_HEADER_BYTES) {
      this.#record.set(into.subarray(NET_HEADER_BYTES, length), RECORD_HEADER_BYTES);
      this.#write(length - NET_HEADER_BYTES);
    }
    return length;
  }

  accept(offloads: number): void {
    this.#backend.accept(offloads);
  }

  usePairs(pairs: number): void {
    this.#backend.usePairs?.(pairs);
  }

  close(): void {
    this.#backend.close();
  }

  #write(length: number): void {
    const kept = Math.min(length, this.#maxBytes);
    const now = performance.timeOrigin + performance.now();
    this.#view.setUint32(0, Math.floor(now / 1000), true);
    this.#view.setUint32(4, Math.floor((now % 1000) * 1000), true);
    this.#view.setUint32(8, kept, true);
    this.#view.setUint32(12, length, true);
    try {
      writeSync(this.#fd, this.#record, 0, RECORD_HEADER_BYTES + kept);
    } catch {
      // A full disk costs frames of the file, and none of the guest.
    }
  }
}
