/**
 * The registers of an 82540EM network card, in its memory BAR and behind its I/O BAR.
 * The io thread moves the frames: transmit.ts and receive.ts.
 *
 * Source: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
 * Manual (317453), sections 3 and 13.
 *
 * Not modelled: loopback (RCTL.LBM), flow control, wake-up, the flash, the older
 * addresses of registers that 82542 drivers use.
 */
import type { AccessSize, IoDevice, IrqLine, Signal } from "../bus/io.ts";
import { linkProperty } from "../net/card.ts";
import type { Property } from "../virtio/device.ts";
import { Eeprom } from "./eeprom.ts";
import { Interrupts } from "./interrupts.ts";
import { Phy } from "./phy.ts";
import * as reg from "./registers.ts";
import { readStatistic } from "./statistics.ts";

export const VENDOR = 0x8086;
export const DEVICE = 0x100e;
export const MEMORY_BYTES = 0x2_0000;
export const IO_BYTES = 64;

// Words behind the I/O BAR.
const IOADDR = 0;
const IODATA = 1;

type Stored = Exclude<
  keyof reg.E1000Registers,
  "statistics" | "multicast" | "addresses" | "vlans" | "phy" | "contexts"
>;

/** Registers that are only stored, and the bits that a driver can set. */
const STORED: ReadonlyMap<number, readonly [name: Stored, writable: number]> = new Map([
  [reg.CTRL_EXT, ["ctrlExt", 0xffff_ffff]],
  [reg.FCAL, ["fcal", 0xffff_ffff]],
  [reg.FCAH, ["fcah", 0xffff]],
  [reg.FCT, ["fct", 0xffff]],
  [reg.VET, ["vet", 0xffff]],
  [reg.ITR, ["itr", 0xffff]],
  [reg.FCTTV, ["fcttv", 0xffff]],
  [reg.TXCW, ["txcw", 0xffff_ffff]],
  [reg.TIPG, ["tipg", 0x3fff_ffff]],
  [reg.AIT, ["ait", 0xffff]],
  [reg.LEDCTL, ["ledctl", 0xffff_ffff]],
  [reg.PBA, ["pba", 0xffff]],
  [reg.FCRTL, ["fcrtl", 0x8000_fff8]],
  [reg.FCRTH, ["fcrth", 0xfff8]],
  [reg.RDBAL, ["rdbal", 0xffff_fff0]],
  [reg.RDBAH, ["rdbah", 0xffff_ffff]],
  [reg.RDLEN, ["rdlen", 0xf_ff80]],
  [reg.RDH, ["rdh", 0xffff]],
  [reg.RDT, ["rdt", 0xffff]],
  [reg.RDTR, ["rdtr", 0xffff]],
  [reg.RXDCTL, ["rxdctl", 0xffff_ffff]],
  [reg.RADV, ["radv", 0xffff]],
  [reg.RSRPD, ["rsrpd", 0xfff]],
  [reg.TDBAL, ["tdbal", 0xffff_fff0]],
  [reg.TDBAH, ["tdbah", 0xffff_ffff]],
  [reg.TDLEN, ["tdlen", 0xf_ff80]],
  [reg.TDH, ["tdh", 0xffff]],
  [reg.TDT, ["tdt", 0xffff]],
  [reg.TIDV, ["tidv", 0xffff]],
  [reg.TXDCTL, ["txdctl", 0xffff_ffff]],
  [reg.TADV, ["tadv", 0xffff]],
  [reg.TSPMT, ["tspmt", 0xffff_ffff]],
  [reg.RCTL, ["rctl", 0xffff_ffff]],
  [reg.TCTL, ["tctl", 0xffff_ffff]],
  [reg.RXCSUM, ["rxcsum", 0x7ff]],
  [reg.WUC, ["wuc", 0xf]],
  [reg.WUFC, ["wufc", 0xfffff]],
  [reg.MANC, ["manc", 0xffff_ffff]],
]);

/** Those that are not zero after a reset. */
const PBA_POWER_ON = 0x0010_0030; // KiB for frames: 16 to send, 48 received
const LEDCTL_POWER_ON = 0x0706_8302;
const CTRL_POWER_ON = reg.CTRL_SPD_1000 | reg.CTRL_SLU | reg.CTRL_FD;
const VET_POWER_ON = 0x8100;
const MDIC_POWER_ON = 1 << 28; // ready

const STATISTICS_END = reg.STATISTICS + 4 * 64;

export interface E1000Wires {
  readonly irq: IrqLine;
  /** The io thread has something to do. */
  readonly work: Signal;
}

export class E1000 implements IoDevice {
  readonly interrupts: Interrupts;
  readonly #regs: reg.E1000Registers;
  readonly #work: Signal;
  readonly #eeprom: Eeprom;
  readonly #phy: Phy;

  constructor(mac: Uint8Array, regs: reg.E1000Registers, { irq, work }: E1000Wires) {
    this.#regs = regs;
    this.#work = work;
    this.interrupts = new Interrupts(regs, irq);
    this.#eeprom = new Eeprom(regs, mac, { vendor: VENDOR, device: DEVICE });
    this.#phy = new Phy(regs, (causes) => this.interrupts.raise(causes));
  }

  read(offset: number, size: AccessSize): number {
    // A narrower read is as one of the whole register, with all that it does.
    return part(this.#read(offset & ~3) >>> 0, offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    // 13.2: registers are 32 bits wide, and only written as a whole.
    if (size === 4 && (offset & 3) === 0) this.#write(offset, value);
  }

  reset(): void {
    const regs = this.#regs;
    this.#resetMac();
    this.#phy.reset();
    regs.epoch = 0;
    regs.ioAddress = 0;
    this.interrupts.update();
  }

  /** What the owner of the machine sets. */
  properties(): Readonly<Record<string, Property>> {
    const regs = this.#regs;
    return {
      link: linkProperty(regs, () => this.interrupts.raise(reg.ICR_LSC)),
      // A driver of this card cannot be asked.
      announce: { get: () => 0, set() {} },
    };
  }

  #read(offset: number): number {
    const regs = this.#regs;
    switch (offset) {
      case reg.CTRL:
        return regs.ctrl;
      case reg.STATUS:
        return reg.STATUS_FD | reg.STATUS_SPEED_1000 | (regs.linkDown === 0 ? reg.STATUS_LU : 0);
      case reg.EECD:
        return this.#eeprom.eecd;
      case reg.EERD:
        return regs.eerd;
      case reg.MDIC:
        return regs.mdic;
      case reg.ICR:
        return this.interrupts.take();
      case reg.IMS:
        return regs.ims;
    }
    if (offset >= reg.STATISTICS && offset < STATISTICS_END) {
      return readStatistic(regs, (offset - reg.STATISTICS) / 4);
    }
    const table = this.#table(offset);
    if (table !== undefined) return table[indexIn(offset, table)];
    const stored = STORED.get(offset);
    return stored === undefined ? 0 : regs[stored[0]];
  }

  #write(offset: number, value: number): void {
    const regs = this.#regs;
    switch (offset) {
      case reg.CTRL:
        this.#control(value);
        return;
      case reg.EECD:
        this.#eeprom.eecd = value;
        return;
      case reg.EERD:
        this.#eeprom.request(value);
        return;
      case reg.MDIC:
        this.#phy.access(value);
        return;
      case reg.ICR:
        this.interrupts.clear(value);
        return;
      case reg.ICS:
        this.interrupts.raise(value);
        return;
      case reg.IMS:
        this.interrupts.enable(value);
        return;
      case reg.IMC:
        this.interrupts.disable(value);
        return;
    }
    const table = this.#table(offset);
    if (table !== undefined) {
      table[indexIn(offset, table)] = value;
      return;
    }
    const stored = STORED.get(offset);
    if (stored === undefined) return;
    const [name, writable] = stored;
    regs[name] = (value & writable) >>> 0;
    this.#changed(offset);
  }

  /** A register of the rings was written. */
  #changed(offset: number): void {
    const regs = this.#regs;
    switch (offset) {
      case reg.TDBAL:
      case reg.TDBAH:
      case reg.TDLEN:
      case reg.TDH:
        regs.epoch = (regs.epoch + 1) >>> 0;
        return;
      case reg.TCTL:
        if ((regs.tctl & reg.TCTL_EN) === 0) regs.epoch = (regs.epoch + 1) >>> 0;
        else this.#work.raise();
        return;
      case reg.TDT:
        if ((regs.tctl & reg.TCTL_EN) !== 0) this.#work.raise();
        return;
      case reg.RDT:
      case reg.RCTL:
        if ((regs.rctl & reg.RCTL_EN) === 0 || regs.receiverWaits === 0) return;
        regs.receiverWaits = 0;
        this.#work.raise();
        return;
    }
  }

  #table(offset: number): Uint32Array | undefined {
    const { multicast, addresses, vlans } = this.#regs;
    if (offset >= reg.MTA && offset < reg.MTA + 4 * multicast.length) return multicast;
    if (offset >= reg.RA && offset < reg.RA + 4 * addresses.length) return addresses;
    if (offset >= reg.VFTA && offset < reg.VFTA + 4 * vlans.length) return vlans;
    return undefined;
  }

  #control(value: number): void {
    if ((value & reg.CTRL_RST) !== 0) {
      this.#resetMac();
      return;
    }
    this.#regs.ctrl = (value & ~reg.CTRL_PHY_RST) >>> 0;
    if ((value & reg.CTRL_PHY_RST) === 0) return;
    this.#phy.reset();
    this.interrupts.raise(reg.ICR_LSC);
  }

  /** The PHY, the link and the address behind the I/O BAR stay as they are (13.4.1, RST). */
  #resetMac(): void {
    const regs = this.#regs;
    for (const [name] of STORED.values()) regs[name] = 0;
    regs.ctrl = CTRL_POWER_ON;
    regs.vet = VET_POWER_ON;
    regs.ledctl = LEDCTL_POWER_ON;
    regs.pba = PBA_POWER_ON;
    regs.icr = 0;
    regs.ims = 0;
    regs.eerd = 0;
    regs.mdic = MDIC_POWER_ON;
    regs.eecd = 0;
    regs.command = 0;
    regs.clocks = 0;
    regs.throttled = 0;
    regs.receiverWaits = 1; // it may have a frame: the io thread finds out
    regs.statistics.fill(0);
    regs.multicast.fill(0);
    regs.vlans.fill(0);
    regs.contexts.fill(0);
    regs.addresses.fill(0);
    const { words } = this.#eeprom;
    regs.addresses[0] = words[0] | (words[1] << 16);
    regs.addresses[1] = words[2] | reg.RAH_AV;
    regs.epoch = (regs.epoch + 1) >>> 0;
    this.interrupts.update();
  }
}

/** The I/O BAR: the address of a register, and the register. */
export class E1000Ports implements IoDevice {
  readonly #card: E1000;
  readonly #regs: reg.E1000Registers;

  constructor(card: E1000, regs: reg.E1000Registers) {
    this.#card = card;
    this.#regs = regs;
  }

  read(offset: number, size: AccessSize): number {
    const { ioAddress } = this.#regs;
    if (offset >> 2 === IOADDR) return part(ioAddress, offset, size);
    if (offset >> 2 !== IODATA || ioAddress >= MEMORY_BYTES) return 0;
    return this.#card.read((ioAddress & ~3) + (offset & 3), size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const { ioAddress } = this.#regs;
    if (size !== 4) return;
    if (offset === 4 * IOADDR) this.#regs.ioAddress = value;
    else if (offset === 4 * IODATA && ioAddress < MEMORY_BYTES) this.#card.write(ioAddress & ~3, size, value);
  }

  /** The card's reset is this one's too. */
  reset(): void {}
}

function part(word: number, offset: number, size: AccessSize): number {
  if (size === 4) return word;
  return (word >>> (8 * (offset & 3))) & (size === 2 ? 0xffff : 0xff);
}

function indexIn(offset: number, table: Uint32Array): number {
  return (offset >>> 2) & (table.length - 1);
}
