/**
 * The card's EEPROM, 64 words of 16 bits: its address, its identity and a checksum.
 * A driver reads it by EERD, or bit by bit by EECD as a 93C46 on a microwire bus.
 * It is not written: commands other than READ have no effect.
 *
 * Source: 317453, 5.6 (EEPROM address map) and 13.4.3, 13.4.4; Microchip 93C46 data
 * sheet, READ.
 */
import { type E1000Registers, EERD_DONE, EERD_START } from "./registers.ts";

const WORDS = 64;
const SUBSYSTEM_ID = 0x0b;
const SUBSYSTEM_VENDOR_ID = 0x0c;
const DEVICE_ID = 0x0d;
const VENDOR_ID = 0x0e;
const CHECKSUM = 0x3f;
/** All words together, modulo 2^16. */
const SUM = 0xbaba;

// EECD.
const EECD_SK = 1 << 0;
const EECD_CS = 1 << 1;
const EECD_DI = 1 << 2;
const EECD_DO = 1 << 3;
const EECD_FWE = 3 << 4;
const EECD_REQ = 1 << 6;
const EECD_GNT = 1 << 7;
const EECD_PRES = 1 << 8;

/** A start bit, two bits of operation, six of address. */
const COMMAND_BITS = 9;
const READ = 0b110;

export class Eeprom {
  readonly words = new Uint16Array(WORDS);
  readonly #regs: E1000Registers;

  constructor(regs: E1000Registers, mac: Uint8Array, ids: { vendor: number; device: number }) {
    this.#regs = regs;
    const { words } = this;
    for (let n = 0; n < 3; n++) words[n] = mac[2 * n] | (mac[2 * n + 1] << 8);
    words[SUBSYSTEM_ID] = ids.device;
    words[SUBSYSTEM_VENDOR_ID] = ids.vendor;
    words[DEVICE_ID] = ids.device;
    words[VENDOR_ID] = ids.vendor;
    words[CHECKSUM] = SUM - words.reduce((sum, word) => sum + word, 0);
  }

  /** EERD: the word is there at once. */
  request(value: number): void {
    const isRead = (value & EERD_START) !== 0;
    const address = (value >>> 8) & 0xff;
    const word = this.words[address % WORDS];
    this.#regs.eerd = isRead ? (word << 16) | (address << 8) | EERD_DONE : value & 0xff00;
  }

  get eecd(): number {
    const { eecd } = this.#regs;
    const granted = (eecd & EECD_REQ) === 0 ? 0 : EECD_GNT;
    return eecd | granted | EECD_PRES | (this.#dataOut ? EECD_DO : 0);
  }

  set eecd(value: number) {
    const regs = this.#regs;
    const before = regs.eecd;
    regs.eecd = value & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);
    if ((value & EECD_CS) === 0) {
      regs.command = 0;
      regs.clocks = 0;
      return;
    }
    if ((value & EECD_SK) === 0 || (before & EECD_SK) !== 0) return;
    if (regs.clocks < COMMAND_BITS) {
      const bit = (value & EECD_DI) === 0 ? 0 : 1;
      // Zeros before the start bit do not count.
      if (regs.clocks === 0 && bit === 0) return;
      regs.command = (regs.command << 1) | bit;
    }
    // Beyond the last word it begins again with the first: 2^32 is a multiple of all of them.
    regs.clocks = regs.clocks === 0xffff_ffff ? COMMAND_BITS + 1 : regs.clocks + 1;
  }

  /** Bits change at a rising edge of SK; before the first one it says "ready". */
  get #dataOut(): boolean {
    const { clocks, command } = this.#regs;
    if (clocks < COMMAND_BITS || command >>> 6 !== READ) return true;
    const bit = clocks - COMMAND_BITS - 1;
    if (bit < 0) return false; // the zero before the data
    const word = this.words[((command & 0x3f) + (bit >>> 4)) % WORDS];
    return ((word >>> (15 - (bit & 15))) & 1) !== 0;
  }
}
