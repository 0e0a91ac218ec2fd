/**
 * Does what a sender left to others: completes checksums, and divides long TCP segments. For receivers that do not do it
 * themselves: another guest, a file, a program.
 */
import {
  ACCEPTS_CHECKSUM,
  ACCEPTS_TSO4,
  ACCEPTS_TSO6,
  GSO_ECN,
  GSO_TCP4,
  type GuestLink,
  type Offload,
} from "./link.ts";
import { get16, get32, put16, put32 } from "./user/bytes.ts";
import { addWords, checksumOf } from "./user/checksum.ts";
import { ETHERNET_BYTES, Packet, TCP, TCP_FIN, TCP_PSH } from "./user/packet.ts";

const TCP_CWR = 0x80;
const MAX_FRAME_BYTES = 65_550;

/** What `GuestLink.accepts` must have for a frame with this offload. */
function neededToAccept({ needsChecksum, gsoType }: Readonly<Offload>): number {
  if (needsChecksum === 0) return 0;
  switch (gsoType & ~GSO_ECN) {
    case 0:
      return ACCEPTS_CHECKSUM;
    case GSO_TCP4:
      return ACCEPTS_CHECKSUM | ACCEPTS_TSO4;
    default:
      return ACCEPTS_CHECKSUM | ACCEPTS_TSO6;
  }
}

export class FrameCompleter {
  readonly #packet = new Packet();
  readonly #buffer = new Uint8Array(MAX_FRAME_BYTES);

  /** Calls `emit` with complete frames, which are lent. A frame that makes no sense is dropped. */
  complete(frame: Uint8Array, offload: Readonly<Offload>, emit: (frame: Uint8Array) => void): void {
    if (offload.needsChecksum === 0 || frame.length > MAX_FRAME_BYTES) {
      emit(frame);
      return;
    }
    if (offload.gsoType !== 0) {
      this.#divide(frame, offload.gsoSize, emit);
      return;
    }
    const { checksumStart, checksumOffset } = offload;
    const field = checksumStart + checksumOffset;
    if (field + 2 > frame.length) return;
    const buffer = this.#buffer;
    buffer.set(frame);
    const sum = checksumOf(addWords(buffer, checksumStart, frame.length, 0));
    put16(buffer, field, sum === 0 ? 0xffff : sum);
    emit(buffer.subarray(0, frame.length));
  }

  #divide(frame: Uint8Array, gsoSize: number, emit: (frame: Uint8Array) => void): void {
    const packet = this.#packet;
    if (gsoSize === 0 || !packet.parse(frame, true) || packet.protocol !== TCP) return;
    const { start, dataStart, end, family, addresses, addressBytes } = packet;
    const buffer = this.#buffer;
    buffer.set(frame.subarray(0, dataStart));
    const sequence = get32(frame, start + 4);
    const flags = frame[start + 13];
    const identification = get16(frame, ETHERNET_BYTES + 4);
    for (let offset = 0, n = 0; dataStart + offset < end; offset += gsoSize, n++) {
      const length = Math.min(gsoSize, end - dataStart - offset);
      const last = dataStart + offset + length === end;
      buffer.set(frame.subarray(dataStart + offset, dataStart + offset + length), dataStart);
      put32(buffer, start + 4, sequence + offset);
      buffer[start + 13] = flags & ~(last ? 0 : TCP_FIN | TCP_PSH) & ~(n === 0 ? 0 : TCP_CWR);
      const segmentEnd = dataStart + length;
      if (family === 4) {
        put16(buffer, ETHERNET_BYTES + 2, segmentEnd - ETHERNET_BYTES);
        put16(buffer, ETHERNET_BYTES + 4, identification + n);
        put16(buffer, ETHERNET_BYTES + 10, 0);
        put16(buffer, ETHERNET_BYTES + 10, checksumOf(addWords(buffer, ETHERNET_BYTES, start, 0)));
      } else put16(buffer, ETHERNET_BYTES + 4, segmentEnd - ETHERNET_BYTES - 40);
      put16(buffer, start + 16, 0);
      const pseudo = addWords(buffer, addresses, addresses + 2 * addressBytes, TCP + segmentEnd - start);
      put16(buffer, start + 16, checksumOf(addWords(buffer, start, segmentEnd, pseudo)));
      emit(buffer.subarray(0, segmentEnd));
    }
  }
}

/** Sends a frame with an offload to a guest that may not accept it. */
export function sendCompleted(
  link: GuestLink,
  completer: FrameCompleter,
  frame: Uint8Array,
  offload: Readonly<Offload>,
): void {
  const needed = neededToAccept(offload);
  if ((link.accepts & needed) === needed) link.send(frame, undefined, offload);
  else completer.complete(frame, offload, (each) => void link.send(each));
}
