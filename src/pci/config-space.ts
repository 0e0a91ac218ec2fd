/**
 * The configuration space of one PCI function: 256 bytes of registers, of which
 * the guest changes those bits that a function declares as writable. It contains
 * the base address registers (BARs), which say where the function's windows are.
 *
 * Source: PCI Local Bus 3.0, chapter 6 (Configuration Space); register names are
 * those of <linux/pci_regs.h>.
 */
import { type Layout, layout, type View } from "../base/layout.ts";
import type { Range } from "../bus/address-space.ts";
import type { AccessSize, AfterWrite, IoDevice } from "../bus/io.ts";

const CONFIG_BYTES = 256;

const PCI_VENDOR_ID = 0x00;
const PCI_DEVICE_ID = 0x02;
const PCI_COMMAND = 0x04;
const PCI_STATUS = 0x06;
const PCI_REVISION_ID = 0x08;
const PCI_CACHE_LINE_SIZE = 0x0c;
const PCI_LATENCY_TIMER = 0x0d;
const PCI_HEADER_TYPE = 0x0e;
const PCI_BASE_ADDRESS_0 = 0x10;
const PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
const PCI_SUBSYSTEM_ID = 0x2e;
const PCI_CAPABILITY_LIST = 0x34;
const PCI_INTERRUPT_LINE = 0x3c;
const PCI_INTERRUPT_PIN = 0x3d;
const HEADER_BYTES = 0x40;

const PCI_COMMAND_IO = 0x0001;
const PCI_COMMAND_MEMORY = 0x0002;
const PCI_COMMAND_MASTER = 0x0004;
const PCI_COMMAND_INTX_DISABLE = 0x0400;
/** IO, MEMORY, MASTER, PARITY, SERR, INTX_DISABLE. */
const COMMAND_WRITABLE = 0x0547;
const PCI_STATUS_INTERRUPT = 0x08;
const PCI_STATUS_CAP_LIST = 0x10;
/** Parity errors, aborts: a one clears them. In the upper byte of the register. */
const STATUS_CLEARABLE = 0xf9;
const PCI_HEADER_TYPE_MFD = 0x80;

const BAR_COUNT = 6;
const BAR_IO = 0x1;
const BAR_64 = 0x4;
const BAR_PREFETCH = 0x8;

/** Of QEMU's devices. */
const RED_HAT_QUMRANET = 0x1af4;
const QEMU_SUBSYSTEM = 0x1100;

/** A base address register. */
export interface BarSpec {
  readonly space: "ports" | "memory";
  /** Bytes, a power of two: 4 or more ports, 16 or more of memory. */
  readonly size: number;
  /** 64 bits wide: it is also the next BAR. */
  readonly wide?: boolean;
  readonly prefetchable?: boolean;
}

/** Registers that belong to one kind of function. */
export interface RegisterBlock {
  /** Offset of the first. */
  readonly at: number;
  /** What they are after power-on. */
  readonly bytes: readonly number[];
  /** The bits that a write changes; none without it. */
  readonly writable?: readonly number[];
  /** The bits that a written one clears. */
  readonly clearable?: readonly number[];
  /** After a write that touched them. */
  written?(): AfterWrite | undefined;
}

/** A capability whose registers the function answers itself, except its id and the link to the next one. */
export interface CapabilitySpec {
  readonly id: number;
  /** Its offset; a multiple of 4, 0x40 or more. */
  readonly at: number;
  readonly length: number;
  /** @param offset from the start of the capability */
  read(offset: number, size: AccessSize): number;
  // biome-ignore lint/suspicious/noConfusingVoidType: as IoDevice.write
  write(offset: number, size: AccessSize, value: number): AfterWrite | void;
}

export interface FunctionSpec {
  readonly vendor: number;
  readonly device: number;
  /** 24 bits: class, subclass, programming interface. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** The device has other functions. */
  readonly isMultifunction?: boolean;
  /** 1 is INTA; 0, or nothing, none. */
  readonly interruptPin?: number;
  /** By number. The one after a 64-bit BAR is left undefined. */
  readonly bars?: readonly (BarSpec | undefined)[];
  /** Linked in this order. */
  readonly capabilities?: readonly CapabilitySpec[];
  readonly registers?: readonly RegisterBlock[];
}

const fields = { bytes: { bytes: CONFIG_BYTES } } as const;
export const PciConfigState: Layout<typeof fields> = layout("pci-config", 1, fields);

export interface ConfigWires {
  /** Updates windows and the kernel map, after BARs or Command changed. */
  readonly moved: AfterWrite;
  /** The function's interrupt pin is connected to the machine, or not: Interrupt Disable. */
  readonly connectIntx: (connected: boolean) => void;
}

export class ConfigSpace implements IoDevice {
  readonly #regs: View<typeof fields>;
  readonly #spec: FunctionSpec;
  readonly #wires: ConfigWires;
  readonly #initial: Uint8Array;
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  readonly #clearable = new Uint8Array(CONFIG_BYTES);

  constructor(regs: View<typeof fields>, spec: FunctionSpec, wires: ConfigWires) {
    this.#regs = regs;
    this.#spec = spec;
    this.#wires = wires;
    this.#initial = initialBytes(spec);
    this.#declareHeader();
    for (const { at, bytes, writable, clearable } of spec.registers ?? []) {
      this.#initial.set(bytes, at);
      this.#writable.set(writable ?? [], at);
      this.#clearable.set(clearable ?? [], at);
    }
  }

  /** The registers, except those of capabilities. */
  get bytes(): Uint8Array {
    return this.#regs.bytes;
  }

  /** Where BAR `bar` is decoded now; length 0 if nowhere. */
  bar(bar: number): Range {
    const spec = this.#spec.bars?.[bar];
    const enable = spec?.space === "ports" ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    if (spec === undefined || !(this.bytes[PCI_COMMAND] & enable)) return NOWHERE;
    const address = this.#barAddress(bar, spec);
    const end = address + spec.size;
    // A BAR of zero, or of all ones while its size is asked for, is not an address.
    if (address === 0 || end === END_OF[spec.space] || end > MEMORY_END) return NOWHERE;
    return { address, length: spec.size };
  }

  /** The BARs of this function, by number. */
  get bars(): readonly (BarSpec | undefined)[] {
    return this.#spec.bars ?? [];
  }

  /** 1 is INTA; 0 none. */
  get interruptPin(): number {
    return this.#spec.interruptPin ?? 0;
  }

  /** The guest lets the function read and write its memory. */
  get busMaster(): boolean {
    return (this.bytes[PCI_COMMAND] & PCI_COMMAND_MASTER) !== 0;
  }

  /** The function's interrupt pin reaches the machine. */
  get intxConnected(): boolean {
    return ((this.bytes[PCI_COMMAND + 1] << 8) & PCI_COMMAND_INTX_DISABLE) === 0;
  }

  /** Shows in Status whether the function asserts its interrupt pin. */
  showInterrupt(asserted: boolean): void {
    if (asserted) this.bytes[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else this.bytes[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
  }

  get showsInterrupt(): boolean {
    return (this.bytes[PCI_STATUS] & PCI_STATUS_INTERRUPT) !== 0;
  }

  read(offset: number, size: AccessSize): number {
    const capability = this.#capabilityAt(offset);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = (value << 8) | this.bytes[(offset + i) % CONFIG_BYTES];
    if (capability === undefined) return value >>> 0;
    const mask = 2 ** (8 * size) - 1;
    const head = offset - capability.at < 2 ? 0xffff >>> (8 * (offset - capability.at)) : 0;
    const own = capability.read(offset - capability.at, size);
    return (((own & ~head) | (value & head)) & mask) >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): AfterWrite | undefined {
    const capability = this.#capabilityAt(offset);
    if (capability !== undefined) {
      return capability.write(offset - capability.at, size, value) ?? undefined;
    }
    const { bytes } = this;
    let changed = false;
    for (let i = 0; i < size; i++) {
      const at = (offset + i) % CONFIG_BYTES;
      const byte = (value >>> (8 * i)) & 0xff;
      const writable = this.#writable[at];
      const next = ((bytes[at] & ~writable) | (byte & writable)) & ~(byte & this.#clearable[at]);
      if (next !== bytes[at] && isPlace(at)) changed = true;
      bytes[at] = next;
    }
    const end = offset + size;
    if (offset <= PCI_COMMAND + 1 && end > PCI_COMMAND) this.#wires.connectIntx(this.intxConnected);
    for (const block of this.#spec.registers ?? []) {
      if (offset < block.at + block.bytes.length && end > block.at) {
        const after = block.written?.();
        if (after !== undefined) return after;
      }
    }
    return changed ? this.#wires.moved : undefined;
  }

  reset(): void {
    this.bytes.set(this.#initial);
    this.#wires.connectIntx(this.intxConnected);
  }

  #barAddress(bar: number, { wide, space }: BarSpec): number {
    const low = this.#word(PCI_BASE_ADDRESS_0 + 4 * bar);
    const address = space === "ports" ? low & 0xfffc : (low & ~0xf) >>> 0;
    return wide ? address + this.#word(PCI_BASE_ADDRESS_0 + 4 * (bar + 1)) * 2 ** 32 : address;
  }

  #word(at: number): number {
    const { bytes } = this;
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  #capabilityAt(offset: number): CapabilitySpec | undefined {
    if (offset < HEADER_BYTES) return undefined;
    return this.#spec.capabilities?.find(({ at, length }) => offset >= at && offset < at + length);
  }

  #declareHeader(): void {
    const writable = this.#writable;
    writable[PCI_COMMAND] = COMMAND_WRITABLE & 0xff;
    writable[PCI_COMMAND + 1] = COMMAND_WRITABLE >> 8;
    this.#clearable[PCI_STATUS + 1] = STATUS_CLEARABLE;
    writable[PCI_CACHE_LINE_SIZE] = 0xff;
    writable[PCI_LATENCY_TIMER] = 0xff;
    if (this.interruptPin !== 0) writable[PCI_INTERRUPT_LINE] = 0xff;
    this.bars.forEach((bar, n) => {
      if (bar === undefined) return;
      if (n >= BAR_COUNT || (bar.wide && n + 1 >= BAR_COUNT)) throw new RangeError(`there is no BAR ${n}`);
      const at = PCI_BASE_ADDRESS_0 + 4 * n;
      const fixed = bar.space === "ports" ? 0x3 : 0xf;
      writable.set(wordBytes((-bar.size & ~fixed) >>> 0), at);
      if (bar.wide) writable.set(wordBytes(2 ** 32 - Math.ceil(bar.size / 2 ** 32)), at + 4);
      const type =
        bar.space === "ports" ? BAR_IO : (bar.wide ? BAR_64 : 0) | (bar.prefetchable ? BAR_PREFETCH : 0);
      this.#initial.set(wordBytes(type), at);
    });
  }
}

/** Where a register of all ones would end; the upper half of a wide one may still be zero. */
const END_OF = { ports: 2 ** 16, memory: 2 ** 32 } as const;
/** x86-64's widest physical address. */
const MEMORY_END = 2 ** 52;
const NOWHERE: Range = { address: 0, length: 0 };

/** The register decides where windows are. */
function isPlace(at: number): boolean {
  return at === PCI_COMMAND || (at >= PCI_BASE_ADDRESS_0 && at < PCI_BASE_ADDRESS_0 + 4 * BAR_COUNT);
}

/** The header after power-on, without BARs. */
function initialBytes(spec: FunctionSpec): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES);
  const data = new DataView(bytes.buffer);
  const { capabilities = [], subsystemVendor = RED_HAT_QUMRANET, subsystem = QEMU_SUBSYSTEM } = spec;
  data.setUint16(PCI_VENDOR_ID, spec.vendor, true);
  data.setUint16(PCI_DEVICE_ID, spec.device, true);
  data.setUint32(PCI_REVISION_ID, ((spec.classCode << 8) | (spec.revision ?? 0)) >>> 0, true);
  bytes[PCI_HEADER_TYPE] = spec.isMultifunction ? PCI_HEADER_TYPE_MFD : 0;
  data.setUint16(PCI_SUBSYSTEM_VENDOR_ID, subsystemVendor, true);
  data.setUint16(PCI_SUBSYSTEM_ID, subsystem, true);
  bytes[PCI_INTERRUPT_PIN] = spec.interruptPin ?? 0;
  if (capabilities.length > 0) {
    bytes[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    bytes[PCI_CAPABILITY_LIST] = capabilities[0].at;
  }
  capabilities.forEach(({ id, at }, n) => {
    bytes[at] = id;
    bytes[at + 1] = capabilities[n + 1]?.at ?? 0;
  });
  return bytes;
}

function wordBytes(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}
