/**
 * The responses of requests, by tag: where each is, how many bytes of its data are left
 * over, and how it is written.
 *
 * Source: VIRTIO 1.2, 5.6.6.1 (Device Operation: Request Queues).
 */
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { putSense, SENSE_BYTES } from "../../scsi/unit.ts";
import type { Chain } from "../queue/chain.ts";

/** Before the sense data. */
const RESPONSE_BYTES = 12;
const RESIDUAL = 4;
const STATUS = 10;
const RESPONSE = 11;
/** Buffers over which a driver may spread a response. */
const PLACES = 8;

export const STATUS_GOOD = 0;
export const STATUS_CHECK_CONDITION = 2;

/** What the driver chose, in registers. */
export interface ScsiSizes {
  /** Bytes. */
  readonly cdbSize: number;
  readonly senseSize: number;
}

export class ScsiResponses {
  readonly #memory: GuestMemory;
  readonly #sizes: ScsiSizes;
  readonly #view = new DataView(new ArrayBuffer(RESPONSE_BYTES + 256));
  readonly #sense = new Uint8Array(this.#view.buffer, RESPONSE_BYTES);
  // By tag:
  readonly #places: Float64Array;
  readonly #count: Uint8Array;
  /** Bytes that the initiator offered and the command did not use. */
  readonly residual: Float64Array;

  constructor(memory: GuestMemory, sizes: ScsiSizes, tags: number) {
    this.#memory = memory;
    this.#sizes = sizes;
    this.#places = new Float64Array(2 * PLACES * tags);
    this.#count = new Uint8Array(tags);
    this.residual = new Float64Array(tags);
  }

  /** Takes the place of a response off a chain; all data of the chain is left over so far. @throws {BrokenQueue} */
  take(chain: Chain, tag: number): void {
    const bytes = RESPONSE_BYTES + this.#sizes.senseSize;
    this.#count[tag] = chain.takeWritable(bytes, this.#places, 2 * PLACES * tag, PLACES, "a response");
    this.residual[tag] = chain.readableBytes + chain.writableBytes;
  }

  /** @param data bytes that were written behind the response @returns how many bytes were written together */
  write(tag: number, response: number, status: number, sense: number, data: number): number {
    const { senseSize } = this.#sizes;
    const view = this.#view;
    const hasSense = status === STATUS_CHECK_CONDITION;
    view.setUint32(0, hasSense ? Math.min(SENSE_BYTES, senseSize) : 0, true);
    view.setUint32(RESIDUAL, this.residual[tag], true);
    view.setUint8(STATUS, status);
    view.setUint8(RESPONSE, response);
    if (hasSense) putSense(this.#sense, sense);
    else this.#sense.fill(0, 0, SENSE_BYTES);
    const memory = this.#memory;
    let at = 0;
    const first = 2 * PLACES * tag;
    for (let place = first; place < first + 2 * this.#count[tag]; place += 2) {
      const offset = this.#places[place] - at;
      const end = at + this.#places[place + 1];
      while (at < end) {
        if (end - at >= 4) {
          memory.setUint32(offset + at, view.getUint32(at, true));
          at += 4;
        } else {
          memory.setUint8(offset + at, view.getUint8(at));
          at++;
        }
      }
    }
    return RESPONSE_BYTES + senseSize + data;
  }
}
