/** The places of the machine's devices, and the registers that exits accessed. */
import type { ExitRecord, MapRange } from "vmexit/trace";
import { registerName } from "./register-names.ts";
import type { MapRow } from "./report-data.ts";

/** Many times more than a machine has; only a synthetic trace has more. */
const MAX_RANGES = 512;

/** The place that an exit accessed. */
export interface Place {
  /** For the tree: "in 0x3fd LSR". */
  readonly label: string;
  readonly register: string | undefined;
}

interface Range extends MapRange {
  exits: number;
}

export class DeviceMap {
  readonly #ranges: Range[];
  /** The ranges of each device, by name. */
  readonly #lowest = new Map<string, number>();

  constructor(map: readonly MapRange[]) {
    this.#ranges = map.slice(0, MAX_RANGES).map((range) => ({ ...range, exits: 0 }));
    for (const { name, address } of this.#ranges) {
      this.#lowest.set(name, Math.min(address, this.#lowest.get(name) ?? address));
    }
  }

  /** Counts an exit's access to its range. Undefined for an exit without an access. */
  find(exit: ExitRecord): Place | undefined {
    const address = exit.port ?? exit.address;
    const { direction, device } = exit;
    if (address === undefined || direction === undefined) return undefined;
    const space = exit.port === undefined ? "memory" : "port";
    const range = this.#ranges.find(
      (each) => each.space === space && address >= each.address && address - each.address < each.length,
    );
    if (range !== undefined) range.exits++;
    const lowest = device === undefined ? undefined : this.#lowest.get(device);
    const write = direction === "out" || direction === "write";
    const register =
      device === undefined || lowest === undefined
        ? undefined
        : registerName(device, address - lowest, write);
    const where = `${direction} 0x${address.toString(16)}`;
    return { label: register === undefined ? where : `${where} ${register}`, register };
  }

  /** Lowest addresses first. */
  rows(): MapRow[] {
    return this.#ranges.map((range) => ({ ...range })).sort((a, b) => a.address - b.address);
  }
}
