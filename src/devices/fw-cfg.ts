/**
 * QEMU's firmware configuration device: items that are selected by a key and read
 * byte by byte, or copied to guest memory by DMA.
 *
 * Source: QEMU docs/specs/fw_cfg.rst.
 *
 * Not modelled: items that the guest writes; a transfer that would write one ends
 * with an error.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice } from "../bus/io.ts";

// Offsets from port 0x510.
const SELECTOR = 0;
const DATA = 1;
const DMA_ADDRESS = 4; // 8 bytes, big-endian
const DMA_ADDRESS_LOW = 8;
export const FW_CFG_PORTS = 12;

/** What the DMA address register reads as: "QEMU CFG", big-endian. */
const DMA_SIGNATURE = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47];

/** struct FWCfgDmaAccess: control, length, address. */
const DMA_BYTES = 16;
const DMA_ERROR = 0x01;
const DMA_READ = 0x02;
const DMA_SKIP = 0x04;
const DMA_SELECT = 0x08;
const DMA_WRITE = 0x10;
/** Beyond an item the guest reads zeros; more than this at once is not a request that firmware makes. */
const MOST_ZEROS = 2 ** 20;

export const FwCfgState = layout("fw-cfg", 1, { key: "u32", offset: "u32", dmaHigh: "u32" });

type Registers = ReturnType<typeof FwCfgState.view>;

/** Guest memory. */
export interface DmaMemory {
  /** Undefined if any of it is not RAM. */
  read(address: number, length: number): Uint8Array | undefined;
  /** False, without writing, if any of it is not RAM. */
  write(address: number, bytes: Uint8Array): boolean;
}

export class FwCfg implements IoDevice {
  readonly #regs: Registers;
  readonly #item: (key: number) => Uint8Array | undefined;
  readonly #memory: DmaMemory;

  constructor(regs: Registers, item: (key: number) => Uint8Array | undefined, memory: DmaMemory) {
    this.#regs = regs;
    this.#item = item;
    this.#memory = memory;
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    const regs = this.#regs;
    if (offset === SELECTOR && size === 2) {
      this.#select(value);
    } else if (offset === DMA_ADDRESS && size === 4) {
      regs.dmaHigh = swapped(value);
    } else if (offset === DMA_ADDRESS_LOW && size === 4) {
      const address = regs.dmaHigh * 2 ** 32 + swapped(value);
      regs.dmaHigh = 0;
      this.#transfer(address);
    }
  }

  reset(): void {
    this.#select(0);
    this.#regs.dmaHigh = 0;
  }

  #select(key: number): void {
    this.#regs.key = key;
    this.#regs.offset = 0;
  }

  #readByte(offset: number): number {
    const regs = this.#regs;
    if (offset >= DMA_ADDRESS) return DMA_SIGNATURE[offset - DMA_ADDRESS] ?? 0;
    if (offset !== DATA) return 0;
    const byte = this.#item(regs.key)?.[regs.offset] ?? 0;
    this.#advance(1);
    return byte;
  }

  #advance(bytes: number): void {
    this.#regs.offset = Math.min(0xffff_ffff, this.#regs.offset + bytes);
  }

  /** Carries out the request at `address`, and writes there how it ended. */
  #transfer(address: number): void {
    const request = this.#memory.read(address, DMA_BYTES);
    if (request === undefined) return;
    const data = new DataView(request.buffer, request.byteOffset, DMA_BYTES);
    const control = data.getUint32(0);
    const length = data.getUint32(4);
    const target = data.getUint32(8) * 2 ** 32 + data.getUint32(12);
    if (control & DMA_SELECT) this.#select(control >>> 16);
    let ok = true;
    if (control & DMA_READ) ok = this.#copyOut(target, length);
    else if (control & DMA_WRITE) ok = false;
    else if (control & DMA_SKIP) this.#advance(length);
    this.#memory.write(address, Uint8Array.of(0, 0, 0, ok ? 0 : DMA_ERROR));
  }

  #copyOut(target: number, length: number): boolean {
    const { key, offset } = this.#regs;
    const item = this.#item(key) ?? new Uint8Array();
    const bytes = item.subarray(Math.min(offset, item.length), offset + length);
    const zeros = length - bytes.length;
    this.#advance(length);
    if (zeros > MOST_ZEROS) return false;
    if (bytes.length > 0 && !this.#memory.write(target, bytes)) return false;
    return zeros === 0 || this.#memory.write(target + bytes.length, new Uint8Array(zeros));
  }
}

function swapped(value: number): number {
  return (
    ((value >>> 24) | ((value >>> 8) & 0xff00) | ((value << 8) & 0xff_0000) | ((value & 0xff) << 24)) >>> 0
  );
}
