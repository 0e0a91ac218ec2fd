/**
 * The host bridge of an i440FX: the function that decides what the guest finds
 * from 0xc0000 to 0xfffff, RAM or ROM, by its PAM registers.
 *
 * Source: Intel 82441FX data sheet, 3.2.15 (PAM, programmable attribute map) and
 * 3.2.19 (SMRAM).
 *
 * Not modelled: RAM that is only written (reads go to ROM): its writes are lost.
 * There is no system management mode, so SMRAM is only a register.
 */
import { KIB } from "../../base/units.ts";
import type { SlotWish } from "../kernel-wishes.ts";
import { RAM } from "../kernel-wishes.ts";
import type { PciPart } from "../pci-part.ts";

export const PAM0 = 0x59;
const SMRAM = 0x72;
const READ_ENABLE = 1;
const WRITE_ENABLE = 2;

/** Where ROM can be shadowed by RAM. */
const SHADOW = 0xc_0000;
export const SHADOW_END = 0x10_0000;
const SEGMENT = 16 * KIB;
/** The last segment, of PAM0. */
const BIOS_SEGMENT = 0xf_0000;

export interface I440fxConfig {
  /** The memory that holds the firmware, and its size in bytes. */
  readonly firmware: string;
  readonly firmwareSize: number;
  /** Where memory for devices begins. */
  readonly memoryFrom: number;
}

/** Where SeaBIOS routes PIRQA to PIRQD. */
export const PIRQ_INPUTS = [10, 10, 11, 11];

export const i440fx: PciPart<I440fxConfig> = {
  kind: "i440fx",
  assemble(slot, { firmware, firmwareSize }) {
    const config = slot.configure({
      vendor: 0x8086,
      device: 0x1237,
      revision: 2,
      classCode: 0x060000,
      registers: [
        {
          at: PAM0,
          bytes: [0, 0, 0, 0, 0, 0, 0],
          writable: [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33],
          written: () => slot.ports.moved,
        },
        { at: SMRAM, bytes: [0x02], writable: [0x7f] },
      ],
    });
    return {
      lock: slot.lock,
      kernel: () => ({ slots: shadowSlots(config.bytes, firmware, firmwareSize) }),
    };
  },
  describe: (_place, { memoryFrom }) => ({ pci: { interrupts: PIRQ_INPUTS, memoryFrom } }),
};

/** Memory slots from 0xc0000 to 0xfffff. Neighbours that are alike are one slot. */
function shadowSlots(registers: Uint8Array, firmware: string, firmwareSize: number): SlotWish[] {
  const slots: SlotWish[] = [];
  const aliased = Math.min(firmwareSize, 128 * KIB);
  for (let address = SHADOW; address < SHADOW_END; ) {
    const size = address === BIOS_SEGMENT ? SHADOW_END - BIOS_SEGMENT : SEGMENT;
    const attributes = attributesOf(registers, address);
    const last = slots.at(-1);
    if (attributes & READ_ENABLE) {
      const readOnly = (attributes & WRITE_ENABLE) === 0;
      // The segment of the BIOS stays a slot of its own: firmware changes others while it runs there.
      const joins =
        last?.memory === RAM &&
        last.address + last.size === address &&
        last.readOnly === readOnly &&
        address !== BIOS_SEGMENT;
      if (joins) slots[slots.length - 1] = { ...last, size: last.size + size };
      else slots.push({ memory: RAM, offset: address, address, size, readOnly });
    } else if (address >= SHADOW_END - aliased) {
      slots.push({
        memory: firmware,
        offset: firmwareSize - (SHADOW_END - address),
        address,
        size,
        readOnly: true,
      });
    }
    address += size;
  }
  return slots;
}

/** READ_ENABLE and WRITE_ENABLE of the segment at `address`. */
function attributesOf(registers: Uint8Array, address: number): number {
  if (address === BIOS_SEGMENT) return (registers[PAM0] >> 4) & 3;
  const segment = (address - SHADOW) / SEGMENT;
  return (registers[PAM0 + 1 + (segment >> 1)] >> (4 * (segment & 1))) & 3;
}
