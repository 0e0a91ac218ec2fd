/**
 * The transmit ring, on the io thread. A frame is copied out of the guest's memory
 * when all of its descriptors are there, and completed there when the back end has it;
 * between the two the lock is free, and a driver that takes the ring away is noticed
 * by the epoch.
 *
 * Source: 317453, 3.3 (descriptors), 3.4 (ring). A long TCP segment goes to the back
 * end as one, if that takes it. Segmentation of UDP is not there: such a frame is lost.
 */
import { EAGAIN } from "../base/errno.ts";
import { Pieces } from "../base/pieces.ts";
import { AGAIN, NEVER } from "../bus/io-task.ts";
import { SENT_BYTES, SENT_DROPPED, SENT_FRAMES } from "../net/card-counters.ts";
import { FrameCompleter } from "../net/complete-frame.ts";
import { MAX_FRAME_BYTES, NET_HEADER_BYTES } from "../net/offloads.ts";
import type { CardIo } from "./card-io.ts";
import { FrameOffload } from "./frame-offload.ts";
import { CTRL_VME, DESCRIPTOR_BYTES, ICR_TXDW, ICR_TXQE, TCTL_EN } from "./registers.ts";
import { countSent } from "./statistics.ts";

/** When to send again, if the back end cannot say when it has room. */
const RETRY_MS = 1;
/** Frames of one turn. */
const BATCH = 64;
/** Contexts before one frame; others have their turn between two batches of them. */
const MAX_CONTEXTS = 64;
/** Descriptors of one frame; one that has more is lost. */
const MAX_DESCRIPTORS = 512;
const ETHERNET_BYTES = 14;
/** Without FCS. */
const LEAST_FRAME = 60;
const VLAN_BYTES = 4;

// The third word of a descriptor: commands.
const EOP = 1 << 24;
const LEGACY_IC = 1 << 26;
const TSE = 1 << 26;
const RS = 1 << 27;
const DEXT = 1 << 29;
const VLE = 1 << 30;
const TYPE_SHIFT = 20;
const TYPE_CONTEXT = 0;
// The fourth.
const DD = 1;
const IXSM = 1 << 8;
const TXSM = 2 << 8;

const CONTEXT_WORDS = DESCRIPTOR_BYTES / 4;

const NOTHING = Pieces.of();

export class Transmitter {
  readonly #io: CardIo;
  readonly #offload: FrameOffload;
  readonly #completer = new FrameCompleter();
  /** The header and the frame. */
  readonly #bytes = new Uint8Array(NET_HEADER_BYTES + MAX_FRAME_BYTES + VLAN_BYTES);
  readonly #segment = new Uint8Array(NET_HEADER_BYTES + MAX_FRAME_BYTES + VLAN_BYTES);
  /** The frame's descriptors: RAM offsets, and third words. */
  readonly #at = new Float64Array(MAX_DESCRIPTORS);
  readonly #commands = new Uint32Array(MAX_DESCRIPTORS);
  #count = 0;
  /** Of the frame alone; 0: it is lost. */
  #length = 0;
  /** Where the head is when the frame is sent. */
  #next = 0;
  /** Of completed descriptors. */
  #causes = 0;
  readonly #emit = (frame: Uint8Array) => this.#sendSegment(frame);

  constructor(io: CardIo) {
    this.#io = io;
    this.#offload = new FrameOffload(io.offloads);
  }

  /** Interrupt causes of the descriptors that were completed since the last call. */
  takeCauses(): number {
    const causes = this.#causes;
    this.#causes = 0;
    return causes;
  }

  turn(): number {
    const { regs, lock, backend, counters } = this.#io;
    for (let n = 0; n < BATCH; n++) {
      lock.acquire();
      const found = this.#gather();
      const { epoch } = regs;
      lock.release();
      if (!found) return NEVER;
      if (this.#length > 0) {
        const result = this.#send();
        if (result === EAGAIN) return backend.vacancies === undefined ? RETRY_MS : NEVER;
        counters[result < 0 ? SENT_DROPPED : SENT_FRAMES]++;
        if (result >= 0) counters[SENT_BYTES] += this.#length;
      } else if (this.#count > 0) counters[SENT_DROPPED]++;
      lock.acquire();
      if (regs.epoch === epoch) this.#complete();
      lock.release();
    }
    return AGAIN;
  }

  /** Copies the next frame. False if it is not there, or not yet all of it. */
  #gather(): boolean {
    const { regs, memory, mayMaster } = this.#io;
    this.#count = 0;
    this.#length = 0;
    if ((regs.tctl & TCTL_EN) === 0 || !mayMaster()) return false;
    const size = regs.tdlen / DESCRIPTOR_BYTES;
    const base = regs.tdbal + regs.tdbah * 2 ** 32;
    const tail = regs.tdt;
    let index = regs.tdh;
    if (index >= size || tail >= size) return false;
    let length = 0;
    let isGood = true;
    let isFirst = true;
    let options = 0;
    let first = 0;
    for (let contexts = 0; ; ) {
      if (index === tail) return this.#hasNoRoom(size, index);
      const at = memory.translate(base + DESCRIPTOR_BYTES * index, DESCRIPTOR_BYTES);
      if (at < 0) return false;
      const command = memory.getUint32(at + 8);
      const status = memory.getUint32(at + 12);
      index = index + 1 === size ? 0 : index + 1;
      if ((command & DEXT) !== 0 && ((command >>> TYPE_SHIFT) & 0xf) === TYPE_CONTEXT) {
        this.#setContext(at, command, isFirst);
        if (isFirst) {
          this.#finish(at, command);
          regs.tdh = index;
          if (++contexts === MAX_CONTEXTS) return true;
          continue;
        }
      } else {
        const isLegacy = (command & DEXT) === 0;
        if (isFirst) {
          first = command;
          options = status;
        }
        const bytes = command & (isLegacy ? 0xffff : 0xf_ffff);
        isGood &&= this.#copy(at, bytes, length);
        length += bytes;
      }
      isFirst = false;
      this.#at[this.#count] = at;
      this.#commands[this.#count++] = command;
      this.#next = index;
      if ((command & EOP) !== 0) {
        if (isGood && regs.linkDown === 0) this.#prepare(length, first, options, command, status);
        return true;
      }
      // The rest of it is a frame of its own, which is lost as well if it is long.
      if (this.#count === MAX_DESCRIPTORS) return true;
    }
  }

  /** A ring that is full and has no end of a frame: what is in it is lost. */
  #hasNoRoom(size: number, index: number): boolean {
    if (this.#count === 0 || this.#count < size - 1) return false;
    this.#next = index;
    return true;
  }

  #setContext(at: number, command: number, isFirst: boolean): void {
    const { regs, memory } = this.#io;
    // In the middle of a frame it would be for the rest of it; no driver does that.
    if (!isFirst) return;
    const start = (command & TSE) === 0 ? 0 : CONTEXT_WORDS;
    for (let n = 0; n < CONTEXT_WORDS; n++) regs.contexts[start + n] = memory.getUint32(at + 4 * n);
  }

  /** False if the buffer is not RAM, or the frame is too long. */
  #copy(at: number, bytes: number, done: number): boolean {
    if (bytes === 0) return true;
    if (done + bytes > MAX_FRAME_BYTES) return false;
    const { memory } = this.#io;
    const from = memory.translate(memory.getUint64(at), bytes);
    if (from < 0) return false;
    this.#bytes.set(memory.window(from, bytes), NET_HEADER_BYTES + done);
    return true;
  }

  /** Does, or leaves to the back end, what the descriptors ask for. */
  #prepare(gathered: number, first: number, options: number, last: number, lastStatus: number): void {
    const { regs } = this.#io;
    const offload = this.#offload;
    if (gathered < ETHERNET_BYTES) return;
    let length = gathered;
    if (length < LEAST_FRAME) {
      this.#bytes.fill(0, NET_HEADER_BYTES + length, NET_HEADER_BYTES + LEAST_FRAME);
      length = LEAST_FRAME;
    }
    const frame = this.#bytes.subarray(NET_HEADER_BYTES, NET_HEADER_BYTES + gathered);
    offload.begin();
    if ((first & DEXT) === 0) {
      if ((last & LEGACY_IC) !== 0) {
        offload.insertSum(frame, (last >>> 16) & 0xff, (lastStatus >>> 8) & 0xff, gathered);
      }
    } else if ((first & TSE) !== 0) {
      if (!offload.segment(frame, regs.contexts, CONTEXT_WORDS)) return;
    } else {
      if ((options & IXSM) !== 0) offload.insertIpSum(frame, regs.contexts, 0);
      if ((options & TXSM) !== 0) offload.insertTransportSum(frame, regs.contexts, 0);
    }
    if ((last & VLE) !== 0 && (regs.ctrl & CTRL_VME) !== 0) {
      length = offload.insertVlan(this.#bytes, NET_HEADER_BYTES, length, regs.vet, lastStatus >>> 16);
      if (length > MAX_FRAME_BYTES) return;
    }
    this.#length = length;
  }

  #send(): number {
    const offload = this.#offload;
    const end = NET_HEADER_BYTES + this.#length;
    if (offload.isAccepted) {
      offload.putHeader(this.#bytes);
      return this.#io.backend.send(0, this.#bytes.subarray(0, end), NOTHING);
    }
    // Segments for which there is no room are lost, as on a wire: TCP sends them again.
    this.#completer.complete(this.#bytes.subarray(NET_HEADER_BYTES, end), offload.offload, this.#emit);
    return this.#length;
  }

  #sendSegment(frame: Uint8Array): void {
    const { backend } = this.#io;
    this.#segment.fill(0, 0, NET_HEADER_BYTES);
    this.#segment.set(frame, NET_HEADER_BYTES);
    backend.send(0, this.#segment.subarray(0, NET_HEADER_BYTES + frame.length), NOTHING);
  }

  /** Returns the frame's descriptors to the driver. */
  #complete(): void {
    const { regs } = this.#io;
    if (this.#count === 0) return;
    if (this.#length > 0) countSent(regs, this.#bytes, NET_HEADER_BYTES, this.#length);
    for (let n = 0; n < this.#count; n++) this.#finish(this.#at[n], this.#commands[n]);
    regs.tdh = this.#next;
    if (regs.tdh === regs.tdt) this.#causes |= ICR_TXQE;
  }

  #finish(at: number, command: number): void {
    if ((command & RS) === 0) return;
    const { memory, dirty } = this.#io;
    memory.setUint8(at + 12, memory.getUint8(at + 12) | DD);
    if (dirty.on) dirty.mark(at, DESCRIPTOR_BYTES);
    this.#causes |= ICR_TXDW;
  }
}
