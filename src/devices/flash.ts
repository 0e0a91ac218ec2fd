/**
 * A flash memory chip with Intel's command set, 8 bits wide: firmware and its
 * variables. Its bytes are memory of the board; the chip decides whether reads give
 * them or the answer to a command.
 *
 * Source: JEDEC JESD68.01 (Common Flash Interface); Intel StrataFlash P30 data
 * sheet, "Device commands" (command set 0001h); names of commands are from there.
 * QEMU hw/block/pflash_cfi01.c, for what OVMF expects to find: a status of 0 after
 * it was cleared, and read mode after that (OvmfPkg, QemuFlash.c).
 *
 * Not modelled: time (a block is erased at once), suspension, the protection
 * register, and locks of single blocks (commands that set them do nothing).
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, AfterWrite, IoDevice } from "../bus/io.ts";

const WORD_PROGRAM = 0x40;
const WORD_PROGRAM_ALTERNATE = 0x10;
const BLOCK_ERASE = 0x20;
const CLEAR_STATUS = 0x50;
const LOCK_SETUP = 0x60;
const READ_STATUS = 0x70;
const READ_ID = 0x90;
const READ_QUERY = 0x98;
const BUFFERED_PROGRAM = 0xe8;
const CONFIRM = 0xd0;
const READ_ARRAY = 0xff;

const STATUS_READY = 0x80;
const STATUS_ERASE_ERROR = 0x20;
const STATUS_PROGRAM_ERROR = 0x10;
const STATUS_PROTECTED = 0x02;

/** What the next write is. */
const COMMAND = 0;
const SECOND = 1; // data of a program command, the confirmation of another one, or a count
const BUFFER_DATA = 2;
const BUFFER_CONFIRM = 3;

/** Smallest unit of erasing, as QEMU's pc has it. */
const FLASH_BLOCK = 4096;
const BUFFER_BYTES = 2048;
const INTEL = 0x89;
const DEVICE_ID = 0x18;

export const FlashState = layout("flash", 1, {
  /** The command that reads answer to; READ_ARRAY for the bytes themselves. */
  command: "u8",
  cycle: "u8",
  status: "u8",
  /** Of a buffered program command: bytes still to come, and where the buffer's first byte goes. */
  left: "u32",
  bufferAt: "u32",
  /** All ones where nothing is programmed. */
  buffer: { bytes: BUFFER_BYTES },
});

type Registers = ReturnType<typeof FlashState.view>;

export interface FlashWires {
  /** The chip's bytes; undefined in threads that do not serve the guest. Blocks of FLASH_BLOCK bytes. */
  readonly bytes: Uint8Array | undefined;
  readonly readOnly: boolean;
  /** Reads give the bytes now, or no longer. */
  readonly modeChanged: AfterWrite;
}

export class Flash implements IoDevice {
  readonly #regs: Registers;
  readonly #bytes: Uint8Array;
  readonly #wires: FlashWires;

  constructor(regs: Registers, wires: FlashWires) {
    this.#regs = regs;
    this.#bytes = wires.bytes ?? new Uint8Array();
    this.#wires = wires;
  }

  /** Reads give the chip's bytes. */
  get readsArray(): boolean {
    return this.#regs.command === READ_ARRAY;
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): ReturnType<IoDevice["write"]> {
    const { readsArray } = this;
    this.#write(offset, size, value);
    return this.readsArray === readsArray ? undefined : this.#wires.modeChanged;
  }

  reset(): void {
    const regs = this.#regs;
    this.#toReadArray();
    regs.status = 0;
    regs.left = 0;
    regs.bufferAt = 0;
    regs.buffer.fill(0xff);
  }

  #readByte(offset: number): number {
    switch (this.#regs.command) {
      case READ_ARRAY:
        return this.#bytes[offset] ?? 0xff;
      case READ_ID:
        return [INTEL, DEVICE_ID][offset & 0xff] ?? 0;
      case READ_QUERY:
        return this.#queryByte(offset & 0xff);
      default:
        return this.#regs.status;
    }
  }

  #write(offset: number, size: AccessSize, value: number): void {
    const regs = this.#regs;
    switch (regs.cycle) {
      case SECOND:
        this.#second(offset, size, value);
        break;
      case BUFFER_DATA:
        for (let i = 0; i < size; i++) this.#buffer(offset + i, (value >>> (8 * i)) & 0xff);
        break;
      case BUFFER_CONFIRM:
        if ((value & 0xff) === CONFIRM) this.#programBuffer();
        else this.#toReadArray();
        break;
      default:
        this.#begin(value & 0xff);
    }
  }

  #begin(command: number): void {
    const regs = this.#regs;
    switch (command) {
      case WORD_PROGRAM:
      case WORD_PROGRAM_ALTERNATE:
      case BLOCK_ERASE:
      case LOCK_SETUP:
      case BUFFERED_PROGRAM:
        regs.command = command;
        regs.cycle = SECOND;
        if (command === BUFFERED_PROGRAM) regs.status |= STATUS_READY;
        break;
      case READ_STATUS:
      case READ_ID:
      case READ_QUERY:
        regs.command = command;
        break;
      case CLEAR_STATUS:
        regs.status = 0;
        this.#toReadArray();
        break;
      default: // READ_ARRAY, and what the chip does not know
        this.#toReadArray();
    }
  }

  #second(offset: number, size: AccessSize, value: number): void {
    const regs = this.#regs;
    const command = value & 0xff;
    regs.cycle = COMMAND;
    switch (regs.command) {
      case WORD_PROGRAM:
      case WORD_PROGRAM_ALTERNATE:
        for (let i = 0; i < size; i++) this.#program(offset + i, (value >>> (8 * i)) & 0xff);
        regs.status |= STATUS_READY;
        break;
      case BLOCK_ERASE:
        if (command === CONFIRM) this.#erase(offset);
        else this.#toReadArray();
        break;
      case BUFFERED_PROGRAM:
        regs.left = (value & 0xffff) + 1;
        regs.bufferAt = offset - (offset % BUFFER_BYTES);
        regs.buffer.fill(0xff);
        regs.cycle = BUFFER_DATA;
        break;
      default:
        if (command === READ_ARRAY) this.#toReadArray();
        else regs.status |= STATUS_READY;
    }
  }

  #buffer(offset: number, byte: number): void {
    const regs = this.#regs;
    const at = offset - regs.bufferAt;
    if (at >= 0 && at < BUFFER_BYTES) regs.buffer[at] = byte;
    else regs.status |= STATUS_PROGRAM_ERROR;
    regs.left--;
    if (regs.left <= 0) regs.cycle = BUFFER_CONFIRM;
  }

  #programBuffer(): void {
    const regs = this.#regs;
    for (let at = 0; at < BUFFER_BYTES; at++) {
      if (regs.buffer[at] !== 0xff) this.#program(regs.bufferAt + at, regs.buffer[at]);
    }
    regs.cycle = COMMAND;
    regs.status |= STATUS_READY;
  }

  /** Ones become zeros; only erasing makes ones. */
  #program(offset: number, byte: number): void {
    if (this.#wires.readOnly) this.#regs.status |= STATUS_PROGRAM_ERROR | STATUS_PROTECTED;
    else if (offset < this.#bytes.length) this.#bytes[offset] &= byte;
  }

  #erase(offset: number): void {
    const regs = this.#regs;
    const block = offset - (offset % FLASH_BLOCK);
    if (this.#wires.readOnly) regs.status |= STATUS_ERASE_ERROR | STATUS_PROTECTED;
    else this.#bytes.fill(0xff, block, block + FLASH_BLOCK);
    regs.status |= STATUS_READY;
  }

  #toReadArray(): void {
    this.#regs.command = READ_ARRAY;
    this.#regs.cycle = COMMAND;
  }

  /** JESD68.01: the query table, here with one region of blocks that are alike. */
  #queryByte(at: number): number {
    const { length } = this.#bytes;
    const blocks = length / FLASH_BLOCK - 1;
    switch (at) {
      case 0x27: // the size, as a power of two
        return Math.ceil(Math.log2(Math.max(1, length)));
      case 0x2a: // the buffer's size, as a power of two
        return Math.log2(BUFFER_BYTES);
      case 0x2d:
        return blocks & 0xff;
      case 0x2e:
        return (blocks >> 8) & 0xff;
      case 0x2f: // a block's size in units of 256 bytes
        return FLASH_BLOCK >> 8;
      case 0x30:
        return FLASH_BLOCK >> 16;
      default:
        return QUERY.get(at) ?? 0;
    }
  }
}

/** The rest of the table, by address. */
const QUERY = new Map([
  ...ascii("QRY").map((byte, n) => [0x10 + n, byte] as const),
  [0x13, 0x01], // Intel's extended command set
  [0x15, 0x31], // where its table is
  [0x1b, 0x45], // 4.5 to 5.5 V
  [0x1c, 0x55],
  [0x1f, 0x07], // microseconds to program a byte, and a buffer; milliseconds to erase a block: powers of two
  [0x20, 0x07],
  [0x21, 0x0a],
  [0x23, 0x04], // at most: powers of two, times the above
  [0x24, 0x04],
  [0x25, 0x04],
  [0x28, 0x02], // 8 or 16 bits
  [0x2c, 0x01], // one region
  ...ascii("PRI10").map((byte, n) => [0x31 + n, byte] as const),
]);

function ascii(text: string): number[] {
  return [...text].map((letter) => letter.charCodeAt(0));
}
