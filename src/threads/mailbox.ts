/**
 * One call at a time from a vCPU thread to the program: an access to a device
 * that the program provides. The thread sleeps until the program's handler,
 * which may be async, has finished.
 */
import { Call } from "../base/call.ts";
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice } from "../bus/io.ts";

const Access = layout("own-device-access", 1, {
  device: "u32",
  isWrite: "u32",
  offset: "u32",
  size: "u32",
  value: "u32", // of a write
});

/** The access, then the call. */
export const MAILBOX_BYTES = Access.size + 4 * Call.WORDS;

/** A read after the machine has ended: an empty bus. */
const ALL_ONES = -1;

export class Mailbox {
  readonly #access: ReturnType<typeof Access.view>;
  readonly #call: Call;

  /** @param buffer MAILBOX_BYTES of it from `byteOffset` on, all zero at first */
  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#access = Access.view(buffer, byteOffset);
    this.#call = new Call(new Int32Array(buffer, byteOffset + Access.size, Call.WORDS));
  }

  /** The vCPU's side: calls the program by `notify` and sleeps until the reply. */
  ask(
    device: number,
    isWrite: boolean,
    offset: number,
    size: AccessSize,
    value: number,
    notify: () => void,
  ): number {
    const access = this.#access;
    access.device = device;
    access.isWrite = isWrite ? 1 : 0;
    access.offset = offset;
    access.size = size;
    access.value = value;
    if (this.#call.begin()) notify();
    return this.#call.wait() >>> 0;
  }

  /** The program's side: the access, valid between the notification and `answer`. */
  get question(): { device: number; isWrite: boolean; offset: number; size: number; value: number } {
    const { device, isWrite, offset, size, value } = this.#access;
    return { device, isWrite: isWrite === 1, offset, size, value };
  }

  answer(value: number): void {
    this.#call.reply(value);
  }

  /** Every access gets all ones from now on. */
  close(): void {
    this.#call.end(ALL_ONES);
  }
}

/** A device of the program, as a vCPU thread sees it. */
export class OwnDevice implements IoDevice {
  readonly #mailbox: Mailbox;
  readonly #index: number;
  readonly #notify: () => void;

  constructor(mailbox: Mailbox, index: number, notify: () => void) {
    this.#mailbox = mailbox;
    this.#index = index;
    this.#notify = notify;
  }

  read(offset: number, size: AccessSize): number {
    const value = this.#mailbox.ask(this.#index, false, offset, size, 0, this.#notify);
    return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#mailbox.ask(this.#index, true, offset, size, value, this.#notify);
  }

  reset(): void {}
}
