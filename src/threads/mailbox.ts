/**
 * One question at a time from a vCPU thread to the program: an access to a
 * device that the program provides. The thread sleeps until the program's
 * handler, which may be async, has answered.
 */
import { layout, type View } from "../base/layout.ts";
import type { AccessSize, IoDevice } from "../bus/io.ts";

const MailboxState = layout("own-device-mailbox", 1, {
  state: "i32",
  device: "u32",
  isWrite: "u32",
  offset: "u32",
  size: "u32",
  value: "u32",
});

export const MAILBOX_BYTES = MailboxState.size;

const IDLE = 0;
const ASKED = 1;
const CLOSED = 2; // the machine is ending: nobody will answer any more

export class Mailbox {
  readonly #state: Int32Array;
  readonly #regs: View<{
    state: "i32";
    device: "u32";
    isWrite: "u32";
    offset: "u32";
    size: "u32";
    value: "u32";
  }>;

  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.#state = new Int32Array(buffer, byteOffset, 1);
    this.#regs = MailboxState.view(buffer, byteOffset);
  }

  /** vCPU's side: asks, lets `tell` inform the program, sleeps until the answer. All ones once closed. */
  ask(
    device: number,
    isWrite: boolean,
    offset: number,
    size: AccessSize,
    value: number,
    tell: () => void,
  ): number {
    const regs = this.#regs;
    regs.device = device;
    regs.isWrite = isWrite ? 1 : 0;
    regs.offset = offset;
    regs.size = size;
    regs.value = value;
    if (Atomics.compareExchange(this.#state, 0, IDLE, ASKED) === CLOSED) return 0xffff_ffff;
    tell();
    Atomics.wait(this.#state, 0, ASKED);
    return Atomics.load(this.#state, 0) === CLOSED ? 0xffff_ffff : regs.value;
  }

  /** Program's side: the question, valid between the message and `answer`. */
  get question(): { device: number; isWrite: boolean; offset: number; size: number; value: number } {
    const { device, isWrite, offset, size, value } = this.#regs;
    return { device, isWrite: isWrite === 1, offset, size, value };
  }

  answer(value: number): void {
    this.#regs.value = value;
    if (Atomics.compareExchange(this.#state, 0, ASKED, IDLE) === ASKED) Atomics.notify(this.#state, 0);
  }

  close(): void {
    Atomics.store(this.#state, 0, CLOSED);
    Atomics.notify(this.#state, 0);
  }
}

/** A device of the program's, as a vCPU thread sees it. */
export class OwnDevice implements IoDevice {
  readonly #mailbox: Mailbox;
  readonly #index: number;
  readonly #tell: () => void;

  constructor(mailbox: Mailbox, index: number, tell: () => void) {
    this.#mailbox = mailbox;
    this.#index = index;
    this.#tell = tell;
  }

  read(offset: number, size: AccessSize): number {
    const value = this.#mailbox.ask(this.#index, false, offset, size, 0, this.#tell);
    return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#mailbox.ask(this.#index, true, offset, size, value, this.#tell);
  }

  reset(): void {}
}
