/**
 * Exits of one vCPU on their way to the thread that reads a trace: a ring of
 * records of one size in shared memory, from the vCPU thread to its reader.
 *
 * The vCPU never waits. A record that does not fit is dropped, and the next one
 * that fits says how many were dropped before it. Only memory that records were
 * written to is touched. Registers have an area of their own, so a trace without
 * registers never touches it.
 */
import { RingCounters } from "../base/ring.ts";
import { COPIED_REGISTERS, type ExitRegisters } from "../kvm/exit-registers.ts";

// Words behind the counters, in cache lines of their own.
const LOST = 0; // records dropped since the last one put; written by the vCPU
const WANT_STATE = 16; // whether registers and code are to be recorded; written by the reader
const CONTROL_WORDS = 32;

/** Records of one ring: 65 ms of exits, if one takes 8 µs. */
export const RING_RECORDS = 8192;

/** Bytes of data that a record keeps of what a guest wrote or was answered. */
export const DATA_BYTES = 64;
/** Bytes of code that a record keeps: at RIP, and in front of it. */
export const CODE_BYTES = 16;
export const BEFORE_BYTES = 15;

// One record is one cache line. Offsets in it: in 8-byte words, 4-byte words and bytes.
const RECORD_BYTES = 64;
const F_TIME = 0;
const F_INSIDE = 1;
const F_OUTSIDE = 2;
const F_ADDRESS = 3;
const W_RIP = 8; // two words
const W_LOST = 10;
const W_COUNT = 11;
const B_REASON = 48;
const B_MODE = 49;
const B_DIRECTION = 50;
const B_SIZE = 51;
const B_DATA_LENGTH = 52;
const B_HAS_STATE = 53;
const B_DATA = 56;
/** Bytes of data that fit; more are in the record's data block. */
const INLINE_BYTES = RECORD_BYTES - B_DATA;

// Data that few records have is in blocks behind all records: longer data; registers and code.
const STATE_BYTES = 256;
const STATE_CODE = COPIED_REGISTERS * 8;
const STATE_BEFORE = STATE_CODE + CODE_BYTES;
const STATE_CODE_LENGTH = STATE_BEFORE + BEFORE_BYTES;
const STATE_BEFORE_LENGTH = STATE_CODE_LENGTH + 1;

const RECORDS = (RingCounters.WORDS + CONTROL_WORDS) * 4;
const DATA_BLOCKS = RECORDS + RING_RECORDS * RECORD_BYTES;
const STATE_BLOCKS = DATA_BLOCKS + RING_RECORDS * DATA_BYTES;

export const NO_DIRECTION = 0;
const FROM_DEVICE = 1; // IN, a load
export const TO_DEVICE = 2; // OUT, a store

/** Bytes of the buffer behind a ring. */
export const TRACE_RING_BYTES = STATE_BLOCKS + RING_RECORDS * STATE_BYTES;

/** What both sides use. */
class Slots {
  protected readonly counters: RingCounters;
  /** LOST and WANT_STATE. */
  protected readonly control: Int32Array;
  protected readonly floats: Float64Array;
  protected readonly words: Uint32Array;
  protected readonly bytes: Uint8Array;
  // Where the present record begins, in floats, words and bytes; and its two blocks, in bytes.
  protected f = 0;
  protected w = 0;
  protected b = 0;
  protected data = 0;
  protected state = 0;

  /** @param buffer TRACE_RING_BYTES bytes, all zero at first */
  constructor(buffer: SharedArrayBuffer) {
    this.counters = new RingCounters(new Int32Array(buffer), RING_RECORDS);
    this.control = new Int32Array(buffer, RingCounters.WORDS * 4, CONTROL_WORDS);
    this.floats = new Float64Array(buffer);
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  protected pick(index: number): void {
    this.b = RECORDS + index * RECORD_BYTES;
    this.w = this.b >> 2;
    this.f = this.b >> 3;
    this.data = DATA_BLOCKS + index * DATA_BYTES;
    this.state = STATE_BLOCKS + index * STATE_BYTES;
  }
}

/** Data that an exit carries. */
export interface ExitData {
  /** Bytes. */
  readonly dataLength: number;
  /** Copies up to `most` bytes to `into` from `at` on; returns how many. */
  copyData(into: Uint8Array, at: number, most: number): number;
}

/** The vCPU's side. Between `begin` and `publish`, the other methods complete the record. Nothing allocates. */
export class TraceWriter extends Slots {
  #lost = 0;
  /** The newest record is published, but the duration of its exit is not known yet. */
  #unsettled = false;

  /** Whether the reader wants registers and code with each record. */
  get wantsState(): boolean {
    return Atomics.load(this.control, WANT_STATE) !== 0;
  }

  /** Forgets the records that were dropped in an earlier trace. */
  restart(): void {
    this.#setLost(0);
  }

  /** Begins a record; false if there is no room. It is then counted as dropped: do not call the other methods. */
  begin(time: number, inside: number, reason: number, registers: ExitRegisters): boolean {
    const { floats, words, bytes } = this;
    if (this.counters.isFull) {
      this.#setLost(this.#lost + 1);
      return false;
    }
    this.pick(this.counters.free);
    const { f, w, b } = this;
    floats[f + F_TIME] = time;
    floats[f + F_INSIDE] = inside;
    floats[f + F_OUTSIDE] = Number.NaN;
    words[w + W_RIP] = registers.ripLow;
    words[w + W_RIP + 1] = registers.ripHigh;
    words[w + W_LOST] = this.#lost;
    words[w + W_COUNT] = 0;
    bytes[b + B_REASON] = reason;
    bytes[b + B_MODE] = registers.mode;
    bytes[b + B_DIRECTION] = NO_DIRECTION;
    bytes[b + B_DATA_LENGTH] = 0;
    bytes[b + B_HAS_STATE] = 0;
    return true;
  }

  /** An access of `count` elements of `size` bytes. The reader finds the device: it has the same machine. */
  putAccess(isWrite: boolean, address: number, size: number, count: number): void {
    this.floats[this.f + F_ADDRESS] = address;
    this.words[this.w + W_COUNT] = count;
    this.bytes[this.b + B_DIRECTION] = isWrite ? TO_DEVICE : FROM_DEVICE;
    this.bytes[this.b + B_SIZE] = size;
  }

  /** The data that was written or answered, as much of it as is kept. */
  putData(exit: ExitData): void {
    const at = exit.dataLength <= INLINE_BYTES ? this.b + B_DATA : this.data;
    this.bytes[this.b + B_DATA_LENGTH] = exit.copyData(this.bytes, at, DATA_BYTES);
  }

  /** Registers, and up to CODE_BYTES and BEFORE_BYTES of code. */
  putState(registers: ExitRegisters, code: Uint8Array, before: Uint8Array): void {
    registers.copy(this.words, this.state >> 2);
    this.bytes.set(code, this.state + STATE_CODE);
    this.bytes.set(before, this.state + STATE_BEFORE);
    this.bytes[this.state + STATE_CODE_LENGTH] = code.length;
    this.bytes[this.state + STATE_BEFORE_LENGTH] = before.length;
    this.bytes[this.b + B_HAS_STATE] = 1;
  }

  /** Makes the record visible to the reader. */
  publish(): void {
    this.#unsettled = true;
    if (this.#lost !== 0) this.#setLost(0);
    this.counters.publish();
  }

  /** Completes the record that was published last: the vCPU continued at `time`, in ns of CLOCK_MONOTONIC. */
  settle(time: number): void {
    if (!this.#unsettled) return;
    this.#unsettled = false;
    // If the reader has taken the record, this memory is unused until the next one.
    this.floats[this.f + F_OUTSIDE] = time - this.floats[this.f + F_TIME];
  }

  #setLost(count: number): void {
    this.#lost = count;
    Atomics.store(this.control, LOST, count);
  }
}

/** The reader's side: `next` selects the oldest record, the getters read it, `take` frees its slot. */
export class TraceReader extends Slots {
  readonly #times: Float64Array;
  #outside = 0;

  /** @param times of the vCPU that writes: Vcpu.times */
  constructor(buffer: SharedArrayBuffer, times: Float64Array) {
    super(buffer);
    this.#times = times;
  }

  /** Starts or stops the recording of registers and code, from the next exit on. */
  wantState(wanted: boolean): void {
    Atomics.store(this.control, WANT_STATE, wanted ? 1 : 0);
  }

  /** False if there is no complete record. */
  next(): boolean {
    const entered = this.#times[0];
    // Read the time before the record: if the time is that of a later entry, the record is complete.
    if (this.counters.length === 0) return false;
    this.pick(this.counters.oldest);
    const settled = this.floats[this.f + F_OUTSIDE];
    // The newest record is completed when the vCPU leaves KVM_RUN, which may be long after it entered.
    this.#outside = Number.isNaN(settled) ? entered - this.time : settled;
    return this.#outside >= 0;
  }

  take(): void {
    this.counters.release(1);
  }

  /** Records dropped after the newest one. Only valid when the vCPU has stopped. */
  get lostSince(): number {
    return Atomics.load(this.control, LOST);
  }

  /** When KVM_RUN returned: ns of CLOCK_MONOTONIC. */
  get time(): number {
    return this.floats[this.f + F_TIME];
  }

  /** ns in KVM_RUN before that. */
  get inside(): number {
    return this.floats[this.f + F_INSIDE];
  }

  /** ns until the next KVM_RUN. */
  get outside(): number {
    return this.#outside;
  }

  /** Records dropped between the one before and this one. */
  get lost(): number {
    return this.words[this.w + W_LOST];
  }

  get rip(): bigint {
    return this.#u64(this.w + W_RIP);
  }

  /** KVM_EXIT_*. */
  get reason(): number {
    return this.bytes[this.b + B_REASON];
  }

  /** MODE_* of exit-registers.ts. */
  get mode(): number {
    return this.bytes[this.b + B_MODE];
  }

  /** NO_DIRECTION: not an access; the fields of an access are then not valid. */
  get direction(): number {
    return this.bytes[this.b + B_DIRECTION];
  }

  /** A port or a guest-physical address. */
  get address(): number {
    return this.floats[this.f + F_ADDRESS];
  }

  get size(): number {
    return this.bytes[this.b + B_SIZE];
  }

  get count(): number {
    return this.words[this.w + W_COUNT];
  }

  /** A copy of the data, as much of it as was kept. */
  get kept(): Uint8Array {
    const length = this.bytes[this.b + B_DATA_LENGTH];
    const at = length <= INLINE_BYTES ? this.b + B_DATA : this.data;
    return this.bytes.slice(at, at + length);
  }

  get hasState(): boolean {
    return this.bytes[this.b + B_HAS_STATE] !== 0;
  }

  /** Register `index` of COPIED_REGISTERS. */
  register(index: number): bigint {
    return this.#u64((this.state >> 2) + 2 * index);
  }

  /** A copy of the bytes at RIP. */
  get code(): Uint8Array {
    const at = this.state + STATE_CODE;
    return this.bytes.slice(at, at + this.bytes[this.state + STATE_CODE_LENGTH]);
  }

  /** A copy of the bytes in front of RIP. */
  get before(): Uint8Array {
    const at = this.state + STATE_BEFORE;
    return this.bytes.slice(at, at + this.bytes[this.state + STATE_BEFORE_LENGTH]);
  }

  #u64(word: number): bigint {
    return (BigInt(this.words[word + 1]) << 32n) | BigInt(this.words[word]);
  }
}
