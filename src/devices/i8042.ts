/**
 * i8042 keyboard controller with nothing plugged in: what a PC guest needs to
 * find a controller without waiting, and to reset the machine through it.
 *
 * Drivers poll the controller with timeouts of half a second, so every command that
 * has an answer gets it at once. There is no keyboard: a byte sent to it gets the
 * controller's answer for a missing keyboard (RESEND), which a driver takes as a quick
 * refusal. Only the keyboard's reset succeeds, for boot loaders that require it. There is no mouse port: its test reports a stuck
 * clock line, and the loop-back command answers as a keyboard would.
 *
 * Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
 * Auxiliary Device Controller" (1988). Names as in Linux's
 * drivers/input/serio/i8042.h.
 *
 * Not modelled: scan codes, translation, the controller's own RAM beyond the
 * command byte, and A20, which is always on.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice, IrqLine, PowerSwitch } from "../bus/io.ts";

// Offsets from port 0x60. The ports between them belong to other chips.
export const I8042_DATA = 0;
export const I8042_COMMAND = 4;

const STR_OBF = 0x01; // a byte waits at the data port
const STR_SYS = 0x04; // the self-test has passed
const STR_CMD = 0x08; // the last write went to the command port
const STR_KEYLOCK = 0x10; // the keyboard is not locked

const CTR_KBDINT = 0x01;
const CTR_SYS = 0x04;
const CTR_KBDDIS = 0x10;
const CTR_AUXDIS = 0x20;

const CMD_CTL_RCTR = 0x20;
const CMD_CTL_WCTR = 0x60;
const CMD_AUX_DISABLE = 0xa7;
const CMD_AUX_ENABLE = 0xa8;
const CMD_AUX_TEST = 0xa9;
const CMD_CTL_TEST = 0xaa;
const CMD_KBD_TEST = 0xab;
const CMD_KBD_DISABLE = 0xad;
const CMD_KBD_ENABLE = 0xae;
const CMD_READ_INPUT_PORT = 0xc0;
const CMD_READ_OUTPUT_PORT = 0xd0;
const CMD_WRITE_OUTPUT_PORT = 0xd1;
const CMD_KBD_LOOP = 0xd2;
const CMD_AUX_LOOP = 0xd3;
const CMD_AUX_SEND = 0xd4;
const CMD_PULSE = 0xf0; // to 0xff; a zero bit pulses that output line

const CTL_TEST_PASSED = 0x55;
const AUX_TEST_CLOCK_STUCK = 0x01;
const KBD_TEST_PASSED = 0x00;
const INPUT_PORT_UNLOCKED = 0x80;
const OUTPUT_LINE_RESET = 0x01; // active low: zero holds the CPU in reset
const OUTPUT_LINE_A20 = 0x02;

const KBD_RESET = 0xff;
const KBD_ACK = 0xfa;
const KBD_BAT_PASSED = 0xaa;
const KBD_RESEND = 0xfe;

export const I8042State = layout("i8042", 1, {
  ctr: "u8", // command byte; CTR_SYS is also what status shows
  command: "u8", // waits for its argument at the data port; 0: none
  lastWasCommand: "u8",
  output: "u8",
  outputFull: "u8",
  next: "u8", // behind `output`: a keyboard's second byte
  nextFull: "u8",
});

type Registers = ReturnType<typeof I8042State.view>;

export class I8042 implements IoDevice {
  readonly #regs: Registers;
  readonly #irq: IrqLine;
  readonly #power: PowerSwitch;

  constructor(regs: Registers, irq: IrqLine, power: PowerSwitch) {
    this.#regs = regs;
    this.#irq = irq;
    this.#power = power;
  }

  read(offset: number, _size: AccessSize): number {
    if (offset === I8042_DATA) return this.#takeOutput();
    if (offset === I8042_COMMAND) return this.#status();
    return 0xff;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    if (offset === I8042_DATA) this.#writeData(value & 0xff);
    else if (offset === I8042_COMMAND) this.#writeCommand(value & 0xff);
    this.#updateIrq();
  }

  reset(): void {
    const regs = this.#regs;
    regs.ctr = CTR_KBDDIS | CTR_AUXDIS;
    regs.command = 0;
    regs.lastWasCommand = 0;
    regs.output = 0;
    regs.outputFull = 0;
    regs.next = 0;
    regs.nextFull = 0;
    this.#updateIrq();
  }

  #status(): number {
    const { ctr, outputFull, lastWasCommand } = this.#regs;
    return (
      STR_KEYLOCK |
      (outputFull ? STR_OBF : 0) |
      (ctr & CTR_SYS ? STR_SYS : 0) |
      (lastWasCommand ? STR_CMD : 0)
    );
  }

  #takeOutput(): number {
    const regs = this.#regs;
    const byte = regs.output;
    regs.outputFull = 0;
    // The line falls before the next byte raises it: the input it is wired to counts edges.
    this.#updateIrq();
    if (regs.nextFull) {
      regs.output = regs.next;
      regs.outputFull = 1;
      regs.nextFull = 0;
      this.#updateIrq();
    }
    return byte;
  }

  #writeCommand(command: number): void {
    const regs = this.#regs;
    regs.lastWasCommand = 1;
    regs.command = 0;
    switch (command) {
      case CMD_CTL_RCTR:
        this.#answer(regs.ctr);
        break;
      case CMD_CTL_WCTR:
      case CMD_WRITE_OUTPUT_PORT:
      case CMD_KBD_LOOP:
      case CMD_AUX_LOOP:
      case CMD_AUX_SEND:
        regs.command = command;
        break;
      case CMD_AUX_DISABLE:
        regs.ctr |= CTR_AUXDIS;
        break;
      case CMD_AUX_ENABLE:
        regs.ctr &= ~CTR_AUXDIS;
        break;
      case CMD_AUX_TEST:
        this.#answer(AUX_TEST_CLOCK_STUCK);
        break;
      case CMD_CTL_TEST:
        regs.ctr |= CTR_SYS;
        this.#answer(CTL_TEST_PASSED);
        break;
      case CMD_KBD_TEST:
        this.#answer(KBD_TEST_PASSED);
        break;
      case CMD_KBD_DISABLE:
        regs.ctr |= CTR_KBDDIS;
        break;
      case CMD_KBD_ENABLE:
        regs.ctr &= ~CTR_KBDDIS;
        break;
      case CMD_READ_INPUT_PORT:
        this.#answer(INPUT_PORT_UNLOCKED);
        break;
      case CMD_READ_OUTPUT_PORT:
        this.#answer(OUTPUT_LINE_RESET | OUTPUT_LINE_A20);
        break;
      default:
        if (command >= CMD_PULSE) this.#drive(command);
    }
  }

  /** A byte at the data port is the argument of a command that waits for one; otherwise it is for the keyboard. */
  #writeData(byte: number): void {
    const regs = this.#regs;
    const command = regs.command;
    regs.lastWasCommand = 0;
    regs.command = 0;
    switch (command) {
      case CMD_CTL_WCTR:
        regs.ctr = byte;
        break;
      case CMD_WRITE_OUTPUT_PORT:
        this.#drive(byte);
        break;
      case CMD_KBD_LOOP:
      case CMD_AUX_LOOP:
        this.#answer(byte);
        break;
      case CMD_AUX_SEND:
        this.#answer(KBD_RESEND);
        break;
      default:
        this.#sendToKeyboard(byte);
    }
  }

  #sendToKeyboard(byte: number): void {
    const regs = this.#regs;
    regs.ctr &= ~CTR_KBDDIS; // sending switches the keyboard's clock on
    this.#answer(byte === KBD_RESET ? KBD_ACK : KBD_RESEND);
    if (byte === KBD_RESET) {
      regs.next = KBD_BAT_PASSED;
      regs.nextFull = 1;
    }
  }

  #answer(byte: number): void {
    const regs = this.#regs;
    regs.output = byte;
    regs.outputFull = 1;
    regs.nextFull = 0;
  }

  #drive(lines: number): void {
    if ((lines & OUTPUT_LINE_RESET) === 0) this.#power.reset();
  }

  #updateIrq(): void {
    this.#irq.set(this.#regs.outputFull !== 0 && (this.#regs.ctr & CTR_KBDINT) !== 0);
  }
}
