/**
 * 16550A UART: the chip, not the wire.
 *
 * Guest bytes leave through `tx`; host bytes enter through `receive()`. The
 * interrupt output is derived from the registers after every access, so no
 * other state can disagree with them.
 *
 * Source: National PC16550D data sheet (June 1995), section 8. Register and bit
 * names are those of <linux/serial_reg.h>, to read beside a guest's trace.
 *
 * Not modelled: baud timing (a byte is sent when written, so the transmitter is
 * always empty), word length, parity, framing errors and breaks, DMA, and the
 * receiver's trigger level (data is announced at once, and the character
 * timeout has nothing to add). OUT2 does not gate the interrupt. Modem inputs
 * read as a terminal that is always there. Writing THR while a THRE interrupt
 * is pending leaves the output high, where the chip drops it for the time of a
 * byte: a driver on an edge-triggered input must read IIR, as all known ones
 * do, and a burst of 16 bytes costs the host one interrupt instead of 16.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, ByteSink, IoDevice, IrqLine, Signal } from "../bus/io.ts";

// Register offsets. RBR and THR, IIR and FCR, and the divisor latch share addresses.
const DATA = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;

const IER_RDI = 0x01;
const IER_THRI = 0x02;
const IER_RLSI = 0x04;
const IER_MSI = 0x08;
const IER_MASK = 0x0f;
// IIR holds one code, not a set of bits: RLSI is not RDI | THRI.
const IIR_MSI = 0x00;
const IIR_NO_INT = 0x01;
const IIR_THRI = 0x02;
const IIR_RDI = 0x04;
const IIR_RLSI = 0x06;
const IIR_FIFO_ENABLED = 0xc0;
const FCR_ENABLE_FIFO = 0x01;
const FCR_CLEAR_RCVR = 0x02;
const LCR_DLAB = 0x80;
const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const MCR_MASK = 0x1f;
const LSR_DR = 0x01;
const LSR_OE = 0x02;
const LSR_THRE = 0x20;
const LSR_TEMT = 0x40;
const MSR_TERI = 0x04;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

const FIFO_BYTES = 16;
const DIVISOR_9600 = 12; // as PC firmware leaves it; an early console divides by it

export const UART16550_PORTS = 8;

export const Uart16550State = layout("uart16550", 1, {
  ier: "u8",
  fcr: "u8",
  lcr: "u8",
  mcr: "u8",
  scr: "u8",
  dll: "u8",
  dlm: "u8",
  thri: "u8", // THRE interrupt latched: reading IIR clears it, LSR keeps THRE
  overrun: "u8", // LSR_OE until LSR is read
  msrDelta: "u8", // MSR's low half: what changed since MSR was read
  refused: "u8", // receive() turned a byte away and waits for receiverReady
  rxHead: "u8",
  rxCount: "u8",
  rx: { bytes: FIFO_BYTES },
});

type Registers = ReturnType<typeof Uart16550State.view>;

export class Uart16550 implements IoDevice {
  readonly #regs: Registers;
  readonly #irq: IrqLine;
  readonly #tx: ByteSink;
  readonly #receiverReady: Signal;

  /** @param receiverReady raised when the receiver is empty again after it refused a byte. */
  constructor(regs: Registers, irq: IrqLine, tx: ByteSink, receiverReady: Signal) {
    this.#regs = regs;
    this.#irq = irq;
    this.#tx = tx;
    this.#receiverReady = receiverReady;
  }

  read(offset: number, _size: AccessSize): number {
    const value = this.#readRegister(offset);
    this.#updateOutputs();
    return value;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    this.#writeRegister(offset, value & 0xff);
    this.#updateOutputs();
  }

  /** Takes one byte from the host. False if it cannot: keep the byte until `receiverReady` is raised. */
  receive(byte: number): boolean {
    const regs = this.#regs;
    if (regs.rxCount >= this.#capacity() || this.#loops()) {
      regs.refused = 1;
      return false;
    }
    this.#append(byte);
    this.#updateOutputs();
    return true;
  }

  reset(): void {
    const regs = this.#regs;
    regs.ier = 0;
    regs.fcr = 0;
    regs.lcr = 0;
    regs.mcr = 0;
    regs.scr = 0;
    regs.dll = DIVISOR_9600;
    regs.dlm = 0;
    regs.thri = 0;
    regs.overrun = 0;
    regs.msrDelta = 0;
    this.#clearReceiver();
    this.#updateOutputs();
  }

  #readRegister(offset: number): number {
    const regs = this.#regs;
    const dlab = (regs.lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        return dlab ? regs.dll : this.#takeReceived();
      case IER:
        return dlab ? regs.dlm : regs.ier;
      case IIR_FCR:
        return this.#acknowledge();
      case LCR:
        return regs.lcr;
      case MCR:
        return regs.mcr;
      case LSR:
        return this.#takeLineStatus();
      case MSR:
        return this.#takeModemStatus();
      default:
        return regs.scr;
    }
  }

  #writeRegister(offset: number, value: number): void {
    const regs = this.#regs;
    const dlab = (regs.lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        if (dlab) regs.dll = value;
        else this.#transmit(value);
        break;
      case IER:
        if (dlab) regs.dlm = value;
        else this.#enable(value & IER_MASK);
        break;
      case IIR_FCR:
        this.#controlFifo(value);
        break;
      case LCR:
        regs.lcr = value;
        break;
      case MCR:
        this.#controlModem(value & MCR_MASK);
        break;
      case LSR: // writing is for the factory's tests
      case MSR:
        break;
      default:
        regs.scr = value;
    }
  }

  #transmit(byte: number): void {
    if (!this.#loops()) {
      this.#tx.put(byte);
    } else if (this.#regs.rxCount < this.#capacity()) {
      this.#append(byte);
    } else {
      // A full FIFO keeps what it has; without FIFO the newer byte replaces the older.
      this.#regs.overrun = 1;
      if (!this.#fifoEnabled()) this.#regs.rx[this.#regs.rxHead % FIFO_BYTES] = byte;
    }
    this.#regs.thri = 1;
  }

  #append(byte: number): void {
    const regs = this.#regs;
    regs.rx[(regs.rxHead + regs.rxCount) % FIFO_BYTES] = byte;
    regs.rxCount++;
  }

  #takeReceived(): number {
    const regs = this.#regs;
    if (regs.rxCount === 0) return 0;
    const byte = regs.rx[regs.rxHead % FIFO_BYTES];
    regs.rxHead = (regs.rxHead + 1) % FIFO_BYTES;
    regs.rxCount--;
    return byte;
  }

  #clearReceiver(): void {
    this.#regs.rxHead = 0;
    this.#regs.rxCount = 0;
    this.#regs.rx.fill(0);
  }

  #enable(ier: number): void {
    // Not in the data sheet, but Linux's 8250 driver tests for it at startup:
    // enabling THRI while the holding register is empty raises it at once.
    if (ier & IER_THRI & ~this.#regs.ier) this.#regs.thri = 1;
    this.#regs.ier = ier;
  }

  /** Reading IIR acknowledges THRI, if that is what it shows. */
  #acknowledge(): number {
    const cause = this.#cause();
    if (cause === IIR_THRI) this.#regs.thri = 0;
    return cause | (this.#fifoEnabled() ? IIR_FIFO_ENABLED : 0);
  }

  #controlFifo(fcr: number): void {
    const regs = this.#regs;
    // Without FCR_ENABLE_FIFO the other bits are not programmed; switching it either way empties the FIFO.
    const enable = fcr & FCR_ENABLE_FIFO;
    if (enable !== (regs.fcr & FCR_ENABLE_FIFO) || (enable && fcr & FCR_CLEAR_RCVR)) this.#clearReceiver();
    regs.fcr = enable; // nothing depends on the others, and FCR cannot be read
  }

  #controlModem(mcr: number): void {
    const regs = this.#regs;
    const before = this.#modemLines();
    regs.mcr = mcr;
    const after = this.#modemLines();
    // Each input sets its delta when it changes, except RI: only when the ringing ends.
    const changed = before ^ after;
    const ringingEnded = before & ~after & MSR_RI ? MSR_TERI : 0;
    regs.msrDelta |= ((changed & ~MSR_RI) >> 4) | ringingEnded;
  }

  #takeLineStatus(): number {
    const regs = this.#regs;
    const status = LSR_THRE | LSR_TEMT | (regs.rxCount > 0 ? LSR_DR : 0) | (regs.overrun ? LSR_OE : 0);
    regs.overrun = 0;
    return status;
  }

  #takeModemStatus(): number {
    const status = this.#modemLines() | this.#regs.msrDelta;
    this.#regs.msrDelta = 0;
    return status;
  }

  /** The modem inputs, as MSR shows them. In loopback they are MCR's outputs. */
  #modemLines(): number {
    if (!this.#loops()) return MSR_DCD | MSR_DSR | MSR_CTS;
    const mcr = this.#regs.mcr;
    return (
      (mcr & MCR_DTR ? MSR_DSR : 0) |
      (mcr & MCR_RTS ? MSR_CTS : 0) |
      (mcr & MCR_OUT1 ? MSR_RI : 0) |
      (mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  /** The highest-priority pending interrupt: data sheet, table of interrupt control functions. */
  #cause(): number {
    const regs = this.#regs;
    if (regs.ier & IER_RLSI && regs.overrun) return IIR_RLSI;
    if (regs.ier & IER_RDI && regs.rxCount > 0) return IIR_RDI;
    if (regs.ier & IER_THRI && regs.thri) return IIR_THRI;
    if (regs.ier & IER_MSI && regs.msrDelta) return IIR_MSI;
    return IIR_NO_INT;
  }

  #updateOutputs(): void {
    const regs = this.#regs;
    this.#irq.set(this.#cause() !== IIR_NO_INT);
    // When empty, not at the first free byte: one wake-up of the host for each FIFO of input.
    if (regs.refused && regs.rxCount === 0 && !this.#loops()) {
      regs.refused = 0;
      this.#receiverReady.raise();
    }
  }

  #loops(): boolean {
    return (this.#regs.mcr & MCR_LOOP) !== 0;
  }

  #fifoEnabled(): boolean {
    return (this.#regs.fcr & FCR_ENABLE_FIFO) !== 0;
  }

  #capacity(): number {
    return this.#fifoEnabled() ? FIFO_BYTES : 1;
  }
}
