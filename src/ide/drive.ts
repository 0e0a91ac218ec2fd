/**
 * What an ATA disk and an ATAPI CD drive have in common: the task file's state
 * machine, the data that a driver moves word by word, and requests to the io thread.
 *
 *   command → (request → complete → block of data → …) → status, interrupt
 *
 * All of it runs under the controller's lock, on whichever thread the guest's access
 * or the io thread's answer comes.
 *
 * Source: ATA/ATAPI-7 volume 1, section 5.8 (protocols in the terms of registers).
 */
import {
  BSY,
  DEV_OBSOLETE,
  DIAGNOSTIC_PASSED,
  DRDY,
  DRQ,
  DSC,
  ERR,
  ERR_ABRT,
  REASON_COMMAND,
} from "./ata.ts";
import {
  BUFFER_BYTES,
  type DriveRegisters,
  PHASE_IN,
  PHASE_NONE,
  PHASE_OUT,
  PHASE_PACKET,
  REQUEST_NONE,
} from "./drive-state.ts";

/** How the io thread's work ended. */
export const DONE = 0;
export const FAILED = -1;
/** The descriptors of the bus master describe less memory than the command moves. */
export const TOO_SHORT = 1;
export type Outcome = typeof DONE | typeof FAILED | typeof TOO_SHORT;

/** While the bus master moves data, the device requests it. */
export const MOVING = DRDY | DSC | DRQ;

export interface DriveWires {
  /** The registers hold a request for the io thread. */
  ask(): void;
  /** The drive has set INTRQ. */
  interrupt(): void;
}

const PACKET_BYTES = 12;

export abstract class Drive {
  readonly regs: DriveRegisters;
  readonly #wires: DriveWires;

  constructor(regs: DriveRegisters, wires: DriveWires) {
    this.regs = regs;
    this.#wires = wires;
  }

  /** Begins the command that is in the registers. */
  protected abstract begin(command: number): void;
  /** The io thread has moved the `bytes` of `request`. */
  protected abstract requestDone(request: number, bytes: number): void;
  /** The io thread could not. */
  protected abstract requestFailed(request: number): void;
  /** The registers that tell a disk from a CD drive: ATA/ATAPI-7, 5.15. */
  protected abstract sign(): void;
  /** Bytes that the driver moves between two interrupts. */
  protected abstract blockBytes(): number;
  /** The driver has read all that was in the buffer. */
  protected abstract dataTaken(): void;
  /** The driver has filled the buffer. */
  protected abstract dataGiven(): void;
  protected packetGiven(): void {}

  /** As after power-on. */
  abstract powerOn(): void;

  /** The same for what all drives have. @param sectors of the medium */
  protected clear(sectors: number): void {
    const { regs } = this;
    regs.mediaSectors = sectors;
    regs.serial = 0;
    regs.busy = 0;
    regs.requestOffset = 0;
    regs.requestBytes = 0;
    regs.dmaDone = 0;
    regs.requestDsync = 0;
    regs.command = 0;
    regs.multiple = 0;
    regs.heads = 16;
    regs.sectorsPerTrack = 63;
    regs.lookAhead = 1;
    regs.smart = 1;
    regs.transferMode = 0;
    regs.standby = 0;
    regs.byteLimitLow = 0;
    regs.byteLimitHigh = 0;
    regs.packetDma = 0;
    regs.rawBlocks = 0;
    regs.sense = 0;
    regs.asc = 0;
    regs.ascq = 0;
    regs.attention = 0;
    regs.mediaEvent = 0;
    regs.trayOpen = 0;
    regs.locked = 0;
    regs.ejectWanted = 0;
    regs.packet.fill(0);
    regs.buffer.fill(0);
    regs.feature = 0;
    regs.hobFeature = 0;
    this.softReset();
  }

  /** Drops what is going on. What the io thread still does for it is dropped when it completes. */
  softReset(): void {
    const { regs } = this;
    this.abandon();
    regs.interrupt = 0;
    regs.lba = 0;
    regs.sectors = 0;
    regs.at = 0;
    regs.end = 0;
    regs.filled = 0;
    regs.multiple = 0;
    regs.hobCount = 0;
    regs.hobLow = 0;
    regs.hobMid = 0;
    regs.hobHigh = 0;
    regs.error = DIAGNOSTIC_PASSED;
    regs.device = DEV_OBSOLETE;
    this.sign();
  }

  /** The command that is going on ends without a status. */
  abandon(): void {
    const { regs } = this;
    regs.serial++;
    regs.request = REQUEST_NONE;
    regs.phase = PHASE_NONE;
  }

  get accepts(): boolean {
    return (this.regs.status & (BSY | DRQ)) === 0;
  }

  /** The driver has written the command register. */
  execute(command: number): void {
    const { regs } = this;
    regs.serial++;
    regs.command = command;
    regs.error = 0;
    this.begin(command);
  }

  /** The io thread has carried out the request in the registers. */
  complete(outcome: Outcome): void {
    const { regs } = this;
    const { request, requestBytes } = regs;
    regs.request = REQUEST_NONE;
    // TOO_SHORT: the bus master has stopped and the device still wants data; the driver sees that no interrupt comes.
    if (outcome === TOO_SHORT) regs.status = DRDY | DSC;
    else if (outcome === DONE) this.requestDone(request, requestBytes);
    else this.requestFailed(request);
  }

  /** Reads the data register. */
  readData(size: number): number {
    const { regs } = this;
    if (regs.phase !== PHASE_IN) return 0;
    const { at, buffer } = regs;
    const length = Math.min(size, Math.max(0, Math.min(regs.end, BUFFER_BYTES) - at));
    let value = 0;
    for (let i = 0; i < length; i++) value |= buffer[at + i] << (8 * i);
    this.#moved(length);
    return value >>> 0;
  }

  /** Writes the data register. */
  writeData(size: number, value: number): void {
    const { regs } = this;
    const into = this.#target();
    if (into === undefined) return;
    const { at } = regs;
    const length = Math.min(size, Math.max(0, regs.end - at));
    for (let i = 0; i < length; i++) into[at + i] = (value >>> (8 * i)) & 0xff; // beyond the array nothing is stored
    this.#moved(length);
  }

  /** Reads up to `length` bytes of the data register's present block. Returns how many, a multiple of `size`. */
  readBlock(size: number, into: Uint8Array, at: number, length: number): number {
    const { regs } = this;
    if (regs.phase !== PHASE_IN) return 0;
    const from = regs.at;
    const left = Math.min(length, Math.min(regs.end, BUFFER_BYTES) - from);
    const count = left - (left % size);
    if (count <= 0) return 0;
    const { buffer } = regs;
    for (let i = 0; i < count; i++) into[at + i] = buffer[from + i];
    this.#moved(count);
    return count;
  }

  /** The other way. */
  writeBlock(size: number, from: Uint8Array, at: number, length: number): number {
    const { regs } = this;
    if (regs.phase !== PHASE_OUT) return 0;
    const first = regs.at;
    const left = Math.min(length, Math.min(regs.end, BUFFER_BYTES) - first);
    const count = left - (left % size);
    if (count <= 0) return 0;
    const { buffer } = regs;
    for (let i = 0; i < count; i++) buffer[first + i] = from[at + i];
    this.#moved(count);
    return count;
  }

  protected interrupt(): void {
    this.regs.interrupt = 1;
    this.#wires.interrupt();
  }

  /** The command has succeeded. */
  protected succeed(): void {
    this.regs.phase = PHASE_NONE;
    this.regs.status = DRDY | DSC;
    this.interrupt();
  }

  /** The command has failed. @param error bits of the error register */
  protected fail(error: number): void {
    const { regs } = this;
    regs.phase = PHASE_NONE;
    regs.request = REQUEST_NONE;
    regs.sectors = 0;
    regs.error = error;
    regs.status = DRDY | DSC | ERR;
    this.interrupt();
  }

  /** The drive does not know the command, or not with these parameters. */
  protected abort(): void {
    this.fail(ERR_ABRT);
  }

  /** Lets the driver read the first `filled` bytes of the buffer. */
  protected offer(filled: number): void {
    this.#transfer(PHASE_IN, filled);
    this.interrupt();
  }

  /** Lets the driver write `filled` bytes. */
  protected accept(filled: number): void {
    this.#transfer(PHASE_OUT, filled);
  }

  protected acceptPacket(): void {
    const { regs } = this;
    regs.phase = PHASE_PACKET;
    regs.at = 0;
    regs.end = PACKET_BYTES;
    regs.filled = PACKET_BYTES;
    regs.count = REASON_COMMAND;
    regs.status = DRDY | DRQ;
  }

  /** Asks the io thread. @param status while it works */
  protected ask(request: number, offset: number, bytes: number, dsync: boolean, status = BSY): void {
    const { regs } = this;
    regs.phase = PHASE_NONE;
    regs.request = request;
    regs.requestOffset = offset;
    regs.requestBytes = bytes;
    regs.requestDsync = dsync ? 1 : 0;
    regs.status = status;
    this.#wires.ask();
  }

  /** A new block of data: a packet command says how long it is. */
  protected announce(_bytes: number, _phase: number): void {}

  #target(): Uint8Array | undefined {
    const { phase, buffer, packet } = this.regs;
    if (phase === PHASE_OUT) return buffer;
    return phase === PHASE_PACKET ? packet : undefined;
  }

  #transfer(phase: number, filled: number): void {
    const { regs } = this;
    regs.phase = phase;
    regs.at = 0;
    regs.filled = Math.min(filled, BUFFER_BYTES);
    this.#nextBlock();
  }

  #nextBlock(): void {
    const { regs } = this;
    const bytes = Math.min(this.blockBytes(), regs.filled - regs.at);
    regs.end = regs.at + bytes;
    regs.status = DRDY | DSC | DRQ;
    this.announce(bytes, regs.phase);
  }

  #moved(bytes: number): void {
    const { regs } = this;
    regs.at = Math.min(regs.at + bytes, BUFFER_BYTES);
    if (regs.at < regs.end) return;
    const { phase } = regs;
    if (phase === PHASE_PACKET) {
      regs.phase = PHASE_NONE;
      this.packetGiven();
    } else if (regs.at < Math.min(regs.filled, BUFFER_BYTES)) {
      this.#nextBlock();
      this.interrupt();
    } else {
      regs.phase = PHASE_NONE;
      if (phase === PHASE_IN) this.dataTaken();
      else this.dataGiven();
    }
  }
}
