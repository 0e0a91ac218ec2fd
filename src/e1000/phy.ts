/**
 * The card's PHY, an 88E1011: a copper link of 1000 Mbit/s, full duplex, that has
 * negotiated that at once, or has no link at all.
 *
 * Source: IEEE 802.3, clause 22.2.4 (registers 0 to 15); Marvell 88E1011S data sheet
 * (16 to 21), as far as drivers read them; 317453, 13.4.8 (MDIC).
 */
import { type E1000Registers, ICR_LSC, ICR_MDAC } from "./registers.ts";

const MDIC_REGISTER_SHIFT = 16;
const MDIC_PHY_SHIFT = 21;
const MDIC_OP_WRITE = 1 << 26;
const MDIC_OP_READ = 2 << 26;
const MDIC_OP = 3 << 26;
const MDIC_READY = 1 << 28;
const MDIC_INT_EN = 1 << 29;
const MDIC_ERROR = 1 << 30;
/** The only PHY on the bus. */
const PHY_ADDRESS = 1;

const PHY_CTRL = 0;
const PHY_STATUS = 1;
const PHY_ID1 = 2;
const PHY_ID2 = 3;
const PHY_AUTONEG_ADV = 4;
const PHY_LP_ABILITY = 5;
const PHY_AUTONEG_EXP = 6;
const PHY_1000T_CTRL = 9;
const PHY_1000T_STATUS = 10;
const PHY_EXT_STATUS = 15;
const M88_PHY_SPEC_CTRL = 16;
const M88_PHY_SPEC_STATUS = 17;
const M88_EXT_PHY_SPEC_CTRL = 20;

const CTRL_RESET = 0x8000;
const CTRL_RESTART_AUTONEG = 0x0200;
const CTRL_POWER_ON = 0x1140; // negotiates; full duplex, 1000 Mbit/s
const STATUS_ABILITIES = 0x7949; // 10 and 100 Mbit/s, negotiates, extended registers
const STATUS_LINK = 0x0004;
const STATUS_AUTONEG_COMPLETE = 0x0020;
const SPEC_STATUS_LINK = 0xac00; // 1000 Mbit/s, full duplex, resolved, link

const POWER_ON: Readonly<Record<number, number>> = {
  [PHY_CTRL]: CTRL_POWER_ON,
  [PHY_AUTONEG_ADV]: 0x0de1,
  [PHY_1000T_CTRL]: 0x0e00,
  [M88_PHY_SPEC_CTRL]: 0x0360,
  [M88_EXT_PHY_SPEC_CTRL]: 0x0d60,
};
/** What a driver may change, and reads back. */
const STORED = [
  PHY_CTRL,
  PHY_AUTONEG_ADV,
  7,
  PHY_1000T_CTRL,
  M88_PHY_SPEC_CTRL,
  18,
  M88_EXT_PHY_SPEC_CTRL,
  29,
  30,
];

export class Phy {
  readonly #regs: E1000Registers;
  readonly #raise: (causes: number) => void;

  constructor(regs: E1000Registers, raise: (causes: number) => void) {
    this.#regs = regs;
    this.#raise = raise;
  }

  reset(): void {
    const { phy } = this.#regs;
    phy.fill(0);
    for (const register of STORED) phy[register] = POWER_ON[register] ?? 0;
  }

  /** A write to MDIC: an access to a register, which is done at once. */
  access(mdic: number): void {
    const register = (mdic >>> MDIC_REGISTER_SHIFT) & 31;
    const operation = mdic & MDIC_OP;
    let result = (mdic & ~MDIC_ERROR) | MDIC_READY;
    if (((mdic >>> MDIC_PHY_SHIFT) & 31) !== PHY_ADDRESS) result |= MDIC_ERROR;
    else if (operation === MDIC_OP_READ) result = (result & ~0xffff) | this.#read(register);
    else if (operation === MDIC_OP_WRITE) this.#write(register, mdic & 0xffff);
    this.#regs.mdic = result;
    if ((mdic & MDIC_INT_EN) !== 0) this.#raise(ICR_MDAC);
  }

  #read(register: number): number {
    const isUp = this.#regs.linkDown === 0;
    switch (register) {
      case PHY_STATUS:
        return STATUS_ABILITIES | (isUp ? STATUS_LINK | STATUS_AUTONEG_COMPLETE : 0);
      case PHY_ID1:
        return 0x0141;
      case PHY_ID2:
        return 0x0c20;
      case PHY_LP_ABILITY:
        return isUp ? 0x41e1 : 0;
      case PHY_AUTONEG_EXP:
        return isUp ? 0x0001 : 0;
      case PHY_1000T_STATUS:
        return isUp ? 0x3c00 : 0;
      case PHY_EXT_STATUS:
        return 0x3000;
      case M88_PHY_SPEC_STATUS:
        return isUp ? SPEC_STATUS_LINK : 0;
      default:
        return this.#regs.phy[register] & 0xffff;
    }
  }

  #write(register: number, value: number): void {
    const { phy } = this.#regs;
    if (register === PHY_CTRL) {
      if ((value & CTRL_RESET) !== 0) this.reset();
      else phy[PHY_CTRL] = value & ~CTRL_RESTART_AUTONEG;
      // The link was lost for a moment, or is negotiated again.
      if ((value & (CTRL_RESET | CTRL_RESTART_AUTONEG)) !== 0) this.#raise(ICR_LSC);
    } else if (STORED.includes(register)) phy[register] = value;
  }
}
