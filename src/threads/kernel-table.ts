/**
 * What KVM has of a machine at this moment, in shared memory: memory slots,
 * doorbells, message routes. It alone assigns slot numbers. Any thread may change
 * KVM's objects and must know the changes of the others, so all of them read and
 * write this table, under its lock.
 */
import { Lock } from "../base/lock.ts";

/** Slots of memory, doorbells and message routes that a machine can have. */
export const MAX_SLOTS = 64;
export const MAX_BELLS = 1024;
export const MAX_MESSAGES = 512;

// Words of the header, then three tables of 64-bit numbers.
const LOCK = 0;
const LOGGING = 1;
const HEADER_WORDS = 16;

/** A memory slot that is in use. Numbers are those of SlotWish. */
export interface SlotEntry {
  /** Index among the machine's memories. */
  readonly memory: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
  readonly readOnly: boolean;
  readonly logged: boolean;
}

export interface BellEntry {
  readonly address: number;
  readonly length: number;
  readonly datamatch: number | undefined;
  readonly port: boolean;
}

export interface MessageEntry {
  readonly gsi: number;
  readonly address: number;
  readonly data: number;
}

const SLOT_NUMBERS = 6; // used, memory, offset, address, size, flags
const BELL_NUMBERS = 5; // used, address, length, datamatch + 1, port
const MESSAGE_NUMBERS = 3; // gsi, address, data
const READ_ONLY = 1;
const LOGGED = 2;

export class KernelTable {
  static readonly WORDS =
    HEADER_WORDS +
    2 * (MAX_SLOTS * SLOT_NUMBERS + MAX_BELLS * BELL_NUMBERS + 1 + MAX_MESSAGES * MESSAGE_NUMBERS);
  readonly lock: Lock;
  readonly #words: Int32Array;
  readonly #slots: Float64Array;
  readonly #bells: Float64Array;
  /** How many messages, then the messages. */
  readonly #messages: Float64Array;

  /** @param words all zero at first: WORDS of them, over a SharedArrayBuffer */
  constructor(words: Int32Array) {
    this.lock = new Lock(words, LOCK);
    this.#words = words;
    let offset = words.byteOffset + 4 * HEADER_WORDS;
    const table = (numbers: number) => {
      const view = new Float64Array(words.buffer, offset, numbers);
      offset += view.byteLength;
      return view;
    };
    this.#slots = table(MAX_SLOTS * SLOT_NUMBERS);
    this.#bells = table(MAX_BELLS * BELL_NUMBERS);
    this.#messages = table(1 + MAX_MESSAGES * MESSAGE_NUMBERS);
  }

  /** Whether KVM logs which pages of RAM the guest writes. */
  get logging(): boolean {
    return this.#words[LOGGING] !== 0;
  }

  set logging(on: boolean) {
    this.#words[LOGGING] = on ? 1 : 0;
  }

  /** Slot `number`; undefined if it is free. */
  slot(number: number): SlotEntry | undefined {
    const [used, memory, offset, address, size, flags] = this.#slots.subarray(number * SLOT_NUMBERS);
    if (used === 0) return undefined;
    const readOnly = (flags & READ_ONLY) !== 0;
    return { memory, offset, address, size, readOnly, logged: (flags & LOGGED) !== 0 };
  }

  setSlot(number: number, slot: SlotEntry | undefined): void {
    const numbers = [0, 0, 0, 0, 0, 0];
    if (slot !== undefined) {
      const flags = (slot.readOnly ? READ_ONLY : 0) | (slot.logged ? LOGGED : 0);
      numbers.splice(0, SLOT_NUMBERS, 1, slot.memory, slot.offset, slot.address, slot.size, flags);
    }
    this.#slots.set(numbers, number * SLOT_NUMBERS);
  }

  /** Where event `number` is signalled; undefined if nowhere. */
  bell(number: number): BellEntry | undefined {
    const [used, address, length, match, port] = this.#bells.subarray(number * BELL_NUMBERS);
    if (used === 0) return undefined;
    return { address, length, datamatch: match === 0 ? undefined : match - 1, port: port !== 0 };
  }

  setBell(number: number, bell: BellEntry | undefined): void {
    const match = bell?.datamatch === undefined ? 0 : bell.datamatch + 1;
    const numbers = bell === undefined ? [0] : [1, bell.address, bell.length, match, bell.port ? 1 : 0];
    this.#bells.set(numbers, number * BELL_NUMBERS);
  }

  get messages(): MessageEntry[] {
    return Array.from({ length: this.#messages[0] }, (_, n) => {
      const [gsi, address, data] = this.#messages.subarray(1 + n * MESSAGE_NUMBERS);
      return { gsi, address, data };
    });
  }

  set messages(messages: readonly MessageEntry[]) {
    this.#messages[0] = messages.length;
    messages.forEach(({ gsi, address, data }, n) => {
      this.#messages.set([gsi, address, data], 1 + n * MESSAGE_NUMBERS);
    });
  }
}
