/**
 * The receive ring, on the io thread. A frame waits in the card until there are
 * descriptors for all of it, so that none is lost while the driver is busy; the back
 * end notices that as a queue that gets full.
 *
 * Source: 317453, 3.2 (receive), 13.4.22 (RCTL), 13.4.45 (RXCSUM). The FCS that a
 * driver may ask for is four bytes of zero.
 */
import { EAGAIN } from "../base/errno.ts";
import { AGAIN, NEVER } from "../bus/io-task.ts";
import { ReceiveErrors } from "../net/card.ts";
import { RECEIVED_BYTES, RECEIVED_DROPPED, RECEIVED_FRAMES } from "../net/card-counters.ts";
import { MAX_FRAME_BYTES, NET_HEADER_BYTES } from "../net/offloads.ts";
import { get16 } from "../net/user/bytes.ts";
import { addWords, checksumOf } from "../net/user/checksum.ts";
import type { CardIo } from "./card-io.ts";
import { ChecksumStatus } from "./checksum-status.ts";
import { isWanted } from "./receive-filter.ts";
import * as reg from "./registers.ts";
import { countReceived, MPC, RNBC, ROC } from "./statistics.ts";

/** Frames of one turn. */
const BATCH = 64;
const ETHERNET_BYTES = 14;
const FCS_BYTES = 4;
const VLAN_BYTES = 4;
/** Without FCS. */
const LEAST_FRAME = 60;
/** With FCS: of a usual frame with a VLAN tag, and with RCTL.LPE. */
const MAX_USUAL = 1522;
const MAX_LONG = 16_384;

const STATUS_DD = 0x01;
const STATUS_EOP = 0x02;
const STATUS_VP = 0x08;

/** RCTL.BSIZE; sixteen times as much with BSEX, except the first. */
const BSIZE_SHIFT = 16;
const BUFFER_BYTES = [2048, 1024, 512, 256];
const RDMTS_SHIFT = 8;

const DELIVERED = 0;
const WAITS = 1;
const DROPPED = 2;
/** Dropped as not for this card, which is not counted. */
const UNWANTED = 3;

export class Receiver {
  readonly #io: CardIo;
  readonly #checksums = new ChecksumStatus();
  /** Header and frame, and room for an FCS. */
  readonly #bytes = new Uint8Array(NET_HEADER_BYTES + MAX_FRAME_BYTES + LEAST_FRAME + FCS_BYTES);
  /** Where the back end puts both. */
  readonly #arrival = this.#bytes.subarray(0, NET_HEADER_BYTES + MAX_FRAME_BYTES);
  readonly #errors: ReceiveErrors;
  /** Of header and frame; 0: there is none. */
  #length = 0;
  #causes = 0;

  constructor(io: CardIo) {
    this.#io = io;
    this.#errors = new ReceiveErrors(io);
  }

  /** Interrupt causes since the last call. */
  takeCauses(): number {
    const causes = this.#causes;
    this.#causes = 0;
    return causes;
  }

  turn(): number {
    const { lock, backend, counters } = this.#io;
    for (let n = 0; n < BATCH; n++) {
      if (this.#length === 0) {
        if (!this.#isOn()) return NEVER;
        const length = backend.receive(0, this.#arrival);
        if (length === EAGAIN) return NEVER;
        if (length < 0) return this.#errors.failed(length);
        if (length < NET_HEADER_BYTES + ETHERNET_BYTES) continue;
        this.#length = length;
      }
      const bytes = this.#length - NET_HEADER_BYTES;
      lock.acquire();
      const result = this.#deliver();
      lock.release();
      if (result === WAITS) return NEVER;
      this.#length = 0;
      if (result === DELIVERED) {
        counters[RECEIVED_FRAMES]++;
        counters[RECEIVED_BYTES] += bytes;
      } else if (result === DROPPED) counters[RECEIVED_DROPPED]++;
    }
    return AGAIN;
  }

  /** False: nothing is received until the driver switches the receiver on. */
  #isOn(): boolean {
    const { lock, regs } = this.#io;
    lock.acquire();
    const isOn = (regs.rctl & reg.RCTL_EN) !== 0;
    if (!isOn) regs.receiverWaits = 1;
    lock.release();
    return isOn;
  }

  #deliver(): number {
    const { regs, mayMaster } = this.#io;
    const bytes = this.#bytes;
    if (regs.linkDown !== 0) return DROPPED;
    if ((regs.rctl & reg.RCTL_EN) === 0) {
      regs.receiverWaits = 1;
      return WAITS;
    }
    if (!mayMaster()) return DROPPED;
    if (!isWanted(regs, bytes, NET_HEADER_BYTES)) return UNWANTED;
    const most = (regs.rctl & reg.RCTL_LPE) === 0 ? MAX_USUAL : MAX_LONG;
    const length = Math.max(this.#length - NET_HEADER_BYTES, LEAST_FRAME);
    if (length + FCS_BYTES > most) {
      regs.statistics[ROC]++;
      return DROPPED;
    }
    bytes.fill(0, this.#length, NET_HEADER_BYTES + length + FCS_BYTES);
    return this.#fill(NET_HEADER_BYTES + length);
  }

  /** Gives the driver the frame that ends at `end`. */
  #fill(end: number): number {
    const { regs } = this.#io;
    const isTagged =
      (regs.ctrl & reg.CTRL_VME) !== 0 && get16(this.#bytes, NET_HEADER_BYTES + 12) === (regs.vet & 0xffff);
    const length = end - NET_HEADER_BYTES - (isTagged ? VLAN_BYTES : 0);
    const total = length + ((regs.rctl & reg.RCTL_SECRC) === 0 ? FCS_BYTES : 0);
    const bufferBytes = bufferSize(regs.rctl);
    const count = Math.ceil(total / bufferBytes);
    const size = regs.rdlen / reg.DESCRIPTOR_BYTES;
    const isRing = regs.rdh < size && regs.rdt < size;
    const free = isRing ? (regs.rdt - regs.rdh + size) % size : 0;
    if (count > free) {
      if (isRing && count >= size) {
        regs.statistics[MPC]++;
        return DROPPED;
      }
      if (regs.receiverWaits === 0) {
        regs.receiverWaits = 1;
        regs.statistics[RNBC]++;
        this.#causes |= reg.ICR_RXO;
      }
      return WAITS;
    }
    const status = this.#checksums.judge(regs.rxcsum, this.#bytes, NET_HEADER_BYTES, end);
    const sum = this.#packetSum(end);
    const tag = isTagged ? this.#takeTag(end) : 0;
    countReceived(regs, this.#bytes, NET_HEADER_BYTES, length);
    const common = STATUS_DD | status | (isTagged ? STATUS_VP : 0);
    for (let n = 0; n < count; n++) {
      const done = n * bufferBytes;
      const part = Math.min(bufferBytes, total - done);
      const isLast = n === count - 1;
      if (!this.#put(regs.rdh, done, part, sum, common | (isLast ? STATUS_EOP : 0), tag)) return DROPPED;
      regs.rdh = regs.rdh + 1 === size ? 0 : regs.rdh + 1;
    }
    this.#causes |= reg.ICR_RXT0;
    // RCTL.RDMTS: a half, a quarter or an eighth of the ring.
    const least = size >>> (1 + Math.min(2, (regs.rctl >>> RDMTS_SHIFT) & 3));
    if (free - count <= least) this.#causes |= reg.ICR_RXDMT0;
    return DELIVERED;
  }

  /** Fills descriptor `index`. False if it is not in RAM. A buffer that is not in RAM gets nothing. */
  #put(index: number, done: number, part: number, sum: number, status: number, tag: number): boolean {
    const { regs, memory, dirty } = this.#io;
    const base = regs.rdbal + regs.rdbah * 2 ** 32;
    const at = memory.translate(base + reg.DESCRIPTOR_BYTES * index, reg.DESCRIPTOR_BYTES);
    if (at < 0) return false;
    const address = memory.getUint64(at);
    const to = address === 0 ? -1 : memory.translate(address, part);
    if (to >= 0) {
      const from = NET_HEADER_BYTES + done;
      memory.window(to, part).set(this.#bytes.subarray(from, from + part));
      if (dirty.on) dirty.mark(to, part);
    }
    memory.setUint16(at + 8, part);
    memory.setUint16(at + 10, sum);
    memory.setUint8(at + 13, this.#checksums.errors);
    memory.setUint16(at + 14, tag);
    // The driver polls this one.
    memory.setUint8(at + 12, status);
    if (dirty.on) dirty.mark(at, reg.DESCRIPTOR_BYTES);
    return true;
  }

  /** The sum behind RXCSUM.PCSS, for drivers that do not have the card judge TCP and UDP. */
  #packetSum(end: number): number {
    const { rxcsum } = this.#io.regs;
    if ((rxcsum & reg.RXCSUM_TUOFL) !== 0) return 0;
    return checksumOf(addWords(this.#bytes, Math.min(end, NET_HEADER_BYTES + (rxcsum & 0xff)), end, 0));
  }

  #takeTag(end: number): number {
    const bytes = this.#bytes;
    const type = NET_HEADER_BYTES + 12;
    const tag = get16(bytes, type + 2);
    bytes.copyWithin(type, type + VLAN_BYTES, end + FCS_BYTES);
    return tag;
  }
}

function bufferSize(rctl: number): number {
  const size = (rctl >>> BSIZE_SHIFT) & 3;
  const isExtended = (rctl & reg.RCTL_BSEX) !== 0 && size !== 0;
  return isExtended ? BUFFER_BYTES[size] * 16 : BUFFER_BYTES[size];
}
