/**
 * An IDE channel: two drives that share a cable, an interrupt line, and the half of
 * a bus master.
 *
 * Both drives take what the driver writes to the command block; the one that the
 * device register selects carries out commands, answers reads, and drives the line.
 *
 * Source: ATA/ATAPI-7 volume 1, section 5; Intel 82371SB (PIIX3) data sheet, 2.5.3
 * (Bus Master IDE I/O registers); "Programming Interface for Bus Master IDE
 * Controller", revision 1.0.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, AfterWrite, IrqLine, Signal } from "../bus/io.ts";
import {
  BSY,
  CMD_DEVICE_RESET,
  CMD_DIAGNOSTIC,
  COMMAND_STATUS,
  CONTROL,
  COUNT,
  CTL_HOB,
  CTL_NIEN,
  CTL_SRST,
  DATA,
  DEV_1,
  DEV_OBSOLETE,
  DEVICE,
  FEATURE_ERROR,
  LBA_HIGH,
  LBA_LOW,
  LBA_MID,
} from "./ata.ts";
import { AtapiCd } from "./atapi-cd.ts";
import type { Drive, DriveWires } from "./drive.ts";

// Of the bus master.
const BM_COMMAND = 0;
const BM_STATUS = 2;
const BM_TABLE = 4;
export const BM_CHANNEL_PORTS = 8;
const BM_START = 0x01;
const BM_TO_MEMORY = 0x08;
const BM_ACTIVE = 0x01;
const BM_ERROR = 0x02;
const BM_INTERRUPT = 0x04;
/** Bits that only firmware and drivers use: each drive can do DMA. */
const BM_CAPABLE = 0x60;

export const ChannelState = layout("ide-channel", 1, {
  table: "u32", // the bus master's descriptors
  bmCommand: "u8",
  bmStatus: "u8",
  selected: "u8", // DEV_1 or 0
  control: "u8",
  level: "u8", // of the interrupt line
  waited: "u8", // a vCPU waits until the io thread has finished with both drives
});

export interface ChannelPorts {
  readonly line: IrqLine;
  /** Makes the io thread see the requests of the drives. */
  readonly work: Signal;
  /** Waits until the io thread has made `settled` true. */
  settle(settled: () => boolean): AfterWrite;
}

export class Channel {
  readonly regs: ReturnType<typeof ChannelState.view>;
  /** Drive 0 and drive 1. */
  readonly drives: readonly (Drive | undefined)[];
  readonly #ports: ChannelPorts;
  readonly #idle: AfterWrite;

  /** @param make makes drive 0 or 1, if there is one */
  constructor(
    regs: ReturnType<typeof ChannelState.view>,
    ports: ChannelPorts,
    make: (unit: number, wires: DriveWires) => Drive | undefined,
  ) {
    this.regs = regs;
    this.#ports = ports;
    const wires: DriveWires = { ask: () => ports.work.raise(), interrupt: () => this.#updateLine() };
    this.drives = [make(0, wires), make(1, wires)];
    this.#idle = ports.settle(() => !this.#isBusy);
  }

  /** As after power-on. */
  powerOn(): void {
    const { regs } = this;
    regs.table = 0;
    regs.bmCommand = 0;
    regs.bmStatus = 0;
    regs.selected = 0;
    regs.control = 0;
    regs.waited = 0;
    for (const drive of this.drives) drive?.powerOn();
    this.#updateLine();
    regs.level = 0;
  }

  /** Reads a register, or 2 or 4 of them. The data register is as wide as the access. */
  read(register: number, size: AccessSize): number {
    if (register === DATA) {
      const value = this.#selected?.readData(size) ?? 0;
      this.#updateLine();
      return value;
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readRegister(register + i) << (8 * i);
    this.#updateLine();
    return value >>> 0;
  }

  write(register: number, size: AccessSize, value: number): AfterWrite | undefined {
    if (register === DATA) {
      this.#selected?.writeData(size, value);
      this.#updateLine();
      return undefined;
    }
    let after: AfterWrite | undefined;
    for (let i = 0; i < size; i++) {
      if (this.#writeRegister(register + i, (value >>> (8 * i)) & 0xff)) after = this.#wait();
    }
    this.#updateLine();
    return after;
  }

  /** Elements of the data register for `rep ins`: up to `length` bytes. Returns how many it had. */
  readBlock(size: AccessSize, into: Uint8Array, at: number, length: number): number {
    const count = this.#selected?.readBlock(size, into, at, length) ?? 0;
    this.#updateLine();
    return count;
  }

  /** The same for `rep outs`. */
  writeBlock(size: AccessSize, from: Uint8Array, at: number, length: number): number {
    const count = this.#selected?.writeBlock(size, from, at, length) ?? 0;
    this.#updateLine();
    return count;
  }

  /** A register of the bus master. */
  readMaster(register: number): number {
    const { regs } = this;
    switch (register) {
      case BM_COMMAND:
        return regs.bmCommand;
      case BM_STATUS:
        return regs.bmStatus;
      default:
        return register >= BM_TABLE ? (regs.table >>> (8 * (register - BM_TABLE))) & 0xff : 0;
    }
  }

  writeMaster(register: number, value: number): AfterWrite | undefined {
    const { regs } = this;
    switch (register) {
      case BM_COMMAND: {
        const before = regs.bmCommand;
        regs.bmCommand = value & (BM_START | BM_TO_MEMORY);
        if ((value & BM_START) === (before & BM_START)) return undefined;
        if ((value & BM_START) !== 0) {
          regs.bmStatus |= BM_ACTIVE;
          this.#ports.work.raise();
          return undefined;
        }
        regs.bmStatus &= ~BM_ACTIVE;
        return this.#isBusy ? this.#wait() : undefined;
      }
      case BM_STATUS:
        regs.bmStatus =
          (value & BM_CAPABLE) |
          (regs.bmStatus & ~value & (BM_ERROR | BM_INTERRUPT)) |
          (regs.bmStatus & BM_ACTIVE);
        return undefined;
      default: {
        if (register < BM_TABLE) return undefined;
        const shift = 8 * (register - BM_TABLE);
        regs.table = ((regs.table & ~(0xff << shift)) | (value << shift)) & ~3;
        return undefined;
      }
    }
  }

  /** The bus master may move data: the driver has started it. */
  get isStarted(): boolean {
    return (this.regs.bmCommand & BM_START) !== 0;
  }

  /** The bus master has moved the data of a command. @param isActive descriptors are left */
  masterDone(isActive: boolean, failed: boolean): void {
    const { regs } = this;
    if (!isActive) regs.bmStatus &= ~BM_ACTIVE;
    if (failed) regs.bmStatus |= BM_ERROR;
  }

  get #selected(): Drive | undefined {
    return this.drives[this.regs.selected === 0 ? 0 : 1];
  }

  get #isBusy(): boolean {
    const [first, second] = this.drives;
    return (first?.regs.busy ?? 0) !== 0 || (second?.regs.busy ?? 0) !== 0;
  }

  #wait(): AfterWrite {
    this.regs.waited = 1;
    return this.#idle;
  }

  #readRegister(register: number): number {
    const drive = this.#selected;
    if (drive === undefined) return 0;
    const { regs } = drive;
    const hob = (this.regs.control & CTL_HOB) !== 0;
    switch (register) {
      case FEATURE_ERROR:
        return regs.error;
      case COUNT:
        return hob ? regs.hobCount : regs.count;
      case LBA_LOW:
        return hob ? regs.hobLow : regs.lbaLow;
      case LBA_MID:
        return hob ? regs.hobMid : regs.lbaMid;
      case LBA_HIGH:
        return hob ? regs.hobHigh : regs.lbaHigh;
      case DEVICE:
        return (regs.device & ~DEV_1) | (this.regs.selected & DEV_1);
      case COMMAND_STATUS:
        regs.interrupt = 0;
        return regs.status;
      default: // the alternate status
        return regs.status;
    }
  }

  /** True if the io thread has to finish before the guest continues. */
  #writeRegister(register: number, value: number): boolean {
    if (register === CONTROL) return this.#control(value);
    if (register > CONTROL) return false;
    this.regs.control &= ~CTL_HOB;
    if (register === COMMAND_STATUS) return this.#command(value);
    const selected = this.#selected;
    if (selected !== undefined && !selected.accepts) return false;
    if (register === DEVICE) this.regs.selected = value & DEV_1;
    for (const drive of this.drives) {
      if (drive === undefined) continue;
      const { regs } = drive;
      switch (register) {
        case FEATURE_ERROR:
          regs.hobFeature = regs.feature;
          regs.feature = value;
          break;
        case COUNT:
          regs.hobCount = regs.count;
          regs.count = value;
          break;
        case LBA_LOW:
          regs.hobLow = regs.lbaLow;
          regs.lbaLow = value;
          break;
        case LBA_MID:
          regs.hobMid = regs.lbaMid;
          regs.lbaMid = value;
          break;
        case LBA_HIGH:
          regs.hobHigh = regs.lbaHigh;
          regs.lbaHigh = value;
          break;
        default:
          regs.device = (value & ~DEV_1) | DEV_OBSOLETE;
      }
    }
    return false;
  }

  #command(command: number): boolean {
    const drive = this.#selected;
    if (drive === undefined) return false;
    if (command === CMD_DEVICE_RESET && drive instanceof AtapiCd) {
      drive.execute(command);
      return this.#isBusy;
    }
    if (!drive.accepts) return false;
    drive.regs.interrupt = 0;
    if (command === CMD_DIAGNOSTIC) this.#diagnose();
    else drive.execute(command);
    return false;
  }

  /** Both drives carry it out, and drive 0 answers. */
  #diagnose(): void {
    for (const drive of this.drives) drive?.softReset();
    this.regs.selected = 0;
    const [first] = this.drives;
    if (first !== undefined) first.regs.interrupt = 1;
  }

  #control(value: number): boolean {
    const { regs } = this;
    const before = regs.control;
    regs.control = value & (CTL_HOB | CTL_SRST | CTL_NIEN);
    const resets = (value & CTL_SRST) !== 0;
    if (resets === ((before & CTL_SRST) !== 0)) return false;
    for (const drive of this.drives) {
      drive?.softReset();
      if (resets && drive !== undefined) drive.regs.status = BSY;
    }
    regs.selected = 0;
    return this.#isBusy;
  }

  #updateLine(): void {
    const { regs } = this;
    const isPending = (this.#selected?.regs.interrupt ?? 0) !== 0 && (regs.control & CTL_NIEN) === 0;
    if (isPending && regs.level === 0) regs.bmStatus |= BM_INTERRUPT;
    regs.level = isPending ? 1 : 0;
    this.#ports.line.set(isPending);
  }
}
