/**
 * The logical units of a controller, by the addresses that its requests have.
 *
 * Source: VIRTIO 1.2, 5.6.6.1 (Device Operation: Request Queues): byte 0 is 1, byte 1 the target, bytes 2 and 3
 * the unit by single level addressing.
 */
import { type LogicalUnit, NoUnit, type UnitState } from "../../scsi/unit.ts";
import type { ServedDisk } from "../disk-requests.ts";

export const MAX_TARGET = 255;
export const MAX_LUN = 16383;

/** Where a unit is. */
export interface UnitPlace {
  readonly target: number;
  readonly lun: number;
}

/** A unit with its storage, on the io thread. Its registers say whether it has a write cache. */
export interface ServedUnit extends UnitPlace, Omit<ServedDisk, "writeback"> {
  readonly unit: LogicalUnit;
}

/** There is no target at that address. */
export const NO_TARGET = -2;
/** There is a target, which has no such unit. */
const NO_UNIT = -1;

export class ScsiUnits {
  readonly units: readonly ServedUnit[];
  /** What answers for the units that a target does not have. */
  readonly noUnit: NoUnit;
  /** Target and unit in one number: the index of the unit. */
  readonly #index = new Map<number, number>();
  readonly #luns = new Map<number, number[]>();

  constructor(units: readonly ServedUnit[], noUnitState: ReturnType<typeof UnitState.view>) {
    this.units = units;
    this.noUnit = new NoUnit(NOTHING, noUnitState);
    units.forEach(({ target, lun }, n) => {
      this.#index.set(numberOf(target, lun), n);
      const luns = this.#luns.get(target) ?? [];
      luns.push(lun);
      this.#luns.set(
        target,
        luns.sort((a, b) => a - b),
      );
    });
  }

  /** The unit at the address in `bytes`, from `at` on: its index, NO_UNIT or NO_TARGET. */
  find(bytes: Uint8Array, at: number): number {
    if (bytes[at] !== 1 || !this.#luns.has(bytes[at + 1])) return NO_TARGET;
    const lun = ((bytes[at + 2] & 0x3f) << 8) | bytes[at + 3];
    return this.#index.get(numberOf(bytes[at + 1], lun)) ?? NO_UNIT;
  }

  /** In order. */
  lunsOf(target: number): readonly number[] {
    return this.#luns.get(target) ?? [];
  }
}

const NOTHING = {
  ...{ type: 0x1f, model: "", serial: "", blockSize: 512, readOnly: true },
  ...{ sectors: 0, writeCache: false },
};

function numberOf(target: number, lun: number): number {
  return target * (MAX_LUN + 1) + lun;
}
