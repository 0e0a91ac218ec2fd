/**
 * A PCI bus, and the ports through which a PC's guest reaches the configuration
 * space of each function on it (configuration mechanism 1): an address at 0xcf8,
 * the register that it names at 0xcfc. The port 0xcf9 between them resets the
 * machine.
 *
 * Lock order: the lock of these ports, then a function's.
 *
 * Source: PCI Local Bus 3.0, 3.2.2.3.2 (Software Generation of Configuration
 * Transactions); Intel 82371SB (PIIX3) data sheet, 2.5.3 (RC, reset control).
 */
import { layout, type View } from "../base/layout.ts";
import type { Lock } from "../base/lock.ts";
import type { AccessSize, AfterWrite, IoDevice, PowerSwitch } from "../bus/io.ts";
import type { ConfigSpace } from "./config-space.ts";

/** Where a function is on its bus. */
export interface FunctionAddress {
  /** 0 to 31. */
  readonly device: number;
  /** 0 to 7. */
  readonly fn: number;
}

/** device * 8 + function, as the configuration address has it. */
export function functionNumber({ device, fn }: FunctionAddress): number {
  return (device << 3) | fn;
}

export interface PciFunction {
  readonly config: ConfigSpace;
  /** Callers hold it while they use `config`. */
  readonly lock: Lock;
}

export class PciBus {
  readonly #functions: (PciFunction | undefined)[] = [];

  /** @throws {RangeError} if there is one already */
  add(address: FunctionAddress, added: PciFunction): void {
    const number = functionNumber(address);
    if (this.#functions[number] !== undefined)
      throw new RangeError(`PCI ${address.device}.${address.fn} has a function already`);
    this.#functions[number] = added;
  }

  /** @param number see functionNumber */
  at(number: number): PciFunction | undefined {
    return this.#functions[number];
  }
}

const CONFIG_ADDRESS = 0;
const RESET_CONTROL = 1;
const CONFIG_DATA = 4;
export const CONFIG_PORTS = 8;

const ENABLE = 0x8000_0000;
const ADDRESS_WRITABLE = 0x80ff_fffc;
const RC_RESET_CPU = 0x04;
const RC_STORED = 0x02; // hard or soft: both reset the machine

const fields = { address: "u32", resetControl: "u8" } as const;
export const ConfigPortsState = layout("pci-config-ports", 1, fields);

export class ConfigPorts implements IoDevice {
  readonly #regs: View<typeof fields>;
  readonly #bus: PciBus;
  readonly #power: PowerSwitch;

  constructor(regs: View<typeof fields>, bus: PciBus, power: PowerSwitch) {
    this.#regs = regs;
    this.#bus = bus;
    this.#power = power;
  }

  read(offset: number, size: AccessSize): number {
    // Only an access of 4 bytes reaches the address; others belong to other chips of the ISA bus.
    if (offset === CONFIG_ADDRESS && size === 4) return this.#regs.address;
    if (offset === RESET_CONTROL && size === 1) return this.#regs.resetControl;
    const found = offset >= CONFIG_DATA ? this.#selected() : undefined;
    if (found === undefined || offset + size > CONFIG_PORTS) return 2 ** (8 * size) - 1;
    found.lock.acquire();
    try {
      return found.config.read(this.#register(offset), size);
    } finally {
      found.lock.release();
    }
  }

  write(offset: number, size: AccessSize, value: number): AfterWrite | undefined {
    if (offset === CONFIG_ADDRESS && size === 4) this.#regs.address = (value & ADDRESS_WRITABLE) >>> 0;
    if (offset === RESET_CONTROL && size === 1) this.#writeResetControl(value);
    const found = offset >= CONFIG_DATA ? this.#selected() : undefined;
    if (found === undefined || offset + size > CONFIG_PORTS) return undefined;
    found.lock.acquire();
    try {
      return found.config.write(this.#register(offset), size, value);
    } finally {
      found.lock.release();
    }
  }

  reset(): void {
    this.#regs.address = 0;
    this.#regs.resetControl = 0;
  }

  #writeResetControl(value: number): void {
    this.#regs.resetControl = value & RC_STORED;
    if (value & RC_RESET_CPU) this.#power.reset();
  }

  #register(offset: number): number {
    return (this.#regs.address & 0xfc) + (offset - CONFIG_DATA);
  }

  #selected(): PciFunction | undefined {
    const { address } = this.#regs;
    const isOnBus0 = (address & 0xff_0000) === 0;
    if (!(address & ENABLE) || !isOnBus0) return undefined;
    return this.#bus.at((address >>> 8) & 0xff);
  }
}
