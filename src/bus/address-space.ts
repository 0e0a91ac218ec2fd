/**
 * Which device answers at which address: the guest's I/O ports, or the part of
 * its physical memory that is not RAM.
 *
 * Every thread has its own, assembled alike. An address nobody claims is an
 * empty slot: reads give all ones, writes vanish. An access that lies only
 * partly in a window is done byte by byte, each where it belongs.
 */
import { OptionError } from "../base/errors.ts";
import type { AccessSize, IoDevice } from "./io.ts";

/** A range of addresses and the device that answers there. */
export interface Window {
  /** For people: the address map, statistics, errors. */
  readonly name: string;
  readonly address: number;
  /** Bytes, 1 or more. */
  readonly length: number;
  readonly device: IoDevice;
  /** The device's offset for the first byte, where a device has several windows. 0 unless given. */
  readonly offset?: number;
}

/** Sees each access that no device claimed. A read's value is all ones. */
export type UnclaimedHook = (
  kind: "read" | "write",
  address: number,
  size: AccessSize,
  value: number,
) => void;

/** Windows that fit one address space, so that a route is a byte. */
export const MAX_WINDOWS = 255;

const PORTS = 0x1_0000;
const MEMORY = 2 ** 52; // x86-64's widest physical address
const NOBODY = 0;

export class AddressSpace {
  /** Called for accesses nobody claims, while it is set. */
  onUnclaimed: UnclaimedHook | undefined;

  readonly #end: number;
  readonly #counts: Float64Array;
  /** By index; slot 0 is nobody. */
  readonly #windows: (Placed | undefined)[] = [undefined];
  /** Ports: the index of each port's window. Memory has none and searches. */
  readonly #routes: Uint8Array | undefined;
  /** Memory: windows by address. */
  #sorted: Placed[] = [];
  /** Memory: the window found last; a driver stays with one device for a while. */
  #last: Placed | undefined;

  /**
   * @param kind   "ports": 64 Ki I/O ports; "memory": guest-physical addresses
   * @param counts accesses by window index (see `names`); at least one more than there will be windows.
   *               This thread increments, any thread may read.
   */
  constructor(kind: "ports" | "memory", counts: Float64Array) {
    this.#end = kind === "ports" ? PORTS : MEMORY;
    this.#routes = kind === "ports" ? new Uint8Array(PORTS) : undefined;
    this.#counts = counts;
  }

  /** @throws {OptionError} if the window overlaps another, lies outside, or is one too many. */
  add(window: Window): void {
    const placed = new Placed(this.#windows.length, window);
    const { address, end } = placed;
    if (
      !Number.isInteger(address) ||
      !Number.isInteger(end) ||
      address < 0 ||
      end <= address ||
      end > this.#end
    ) {
      throw new OptionError(`${window.name}: there is no range of ${window.length} bytes at ${address}`);
    }
    const taken = this.#sorted.find((other) => other.address < end && address < other.end);
    if (taken !== undefined) {
      throw new OptionError(`${window.name} at ${placed.range} overlaps ${taken.name} at ${taken.range}`);
    }
    if (placed.index > MAX_WINDOWS || placed.index >= this.#counts.length) {
      throw new OptionError(`${window.name}: no room for more than ${placed.index - 1} devices`);
    }
    this.#windows.push(placed);
    this.#sorted = [...this.#sorted, placed].sort((a, b) => a.address - b.address);
    this.#routes?.fill(placed.index, address, end);
  }

  /** The window that `address` lies in. */
  find(address: number): Window | undefined {
    return this.#at(address)?.window;
  }

  read(address: number, size: AccessSize): number {
    const placed = this.#at(address);
    if (placed !== undefined && address + size <= placed.end) {
      this.#counts[placed.index]++;
      return placed.device.read(placed.base + (address - placed.address), size);
    }
    if (this.#touches(address, size)) {
      let value = 0;
      for (let i = 0; i < size; i++) value |= this.read(address + i, 1) << (8 * i);
      return value >>> 0;
    }
    this.#counts[NOBODY]++;
    const ones = size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
    if (this.onUnclaimed !== undefined) this.onUnclaimed("read", address, size, ones);
    return ones;
  }

  write(address: number, size: AccessSize, value: number): void {
    const placed = this.#at(address);
    if (placed !== undefined && address + size <= placed.end) {
      this.#counts[placed.index]++;
      const after = placed.device.write(placed.base + (address - placed.address), size, value);
      if (after !== undefined) after.settle();
    } else if (this.#touches(address, size)) {
      for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
    } else {
      this.#counts[NOBODY]++;
      if (this.onUnclaimed !== undefined) this.onUnclaimed("write", address, size, value);
    }
  }

  /** Accesses that no device claimed. */
  get unclaimed(): number {
    return this.#counts[NOBODY];
  }

  /** Whose accesses each of `counts` holds, by index; the first is nobody's. */
  get names(): readonly string[] {
    return this.#windows.map((placed) => placed?.name ?? "unclaimed");
  }

  /** The windows, lowest address first. */
  get windows(): readonly Window[] {
    return this.#sorted.map((placed) => placed.window);
  }

  #at(address: number): Placed | undefined {
    if (this.#routes !== undefined) {
      return address < PORTS ? this.#windows[this.#routes[address]] : undefined;
    }
    const last = this.#last;
    if (last !== undefined && address >= last.address && address < last.end) return last;
    const found = this.#search(address);
    if (found !== undefined) this.#last = found;
    return found;
  }

  #search(address: number): Placed | undefined {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle].end <= address) low = middle + 1;
      else high = middle;
    }
    const candidate = low < this.#sorted.length ? this.#sorted[low] : undefined;
    return candidate !== undefined && candidate.address <= address ? candidate : undefined;
  }

  /** True if a device claims any byte of the access. */
  #touches(address: number, size: AccessSize): boolean {
    for (let i = 0; i < size; i++) if (this.#at(address + i) !== undefined) return true;
    return false;
  }
}

/** A window with what a dispatch needs at hand. */
class Placed {
  readonly index: number;
  readonly window: Window;
  readonly name: string;
  readonly address: number;
  readonly end: number;
  readonly device: IoDevice;
  readonly base: number;

  constructor(index: number, window: Window) {
    this.index = index;
    this.window = window;
    this.name = window.name;
    this.address = window.address;
    this.end = window.address + window.length;
    this.device = window.device;
    this.base = window.offset ?? 0;
  }

  get range(): string {
    const first = `0x${this.address.toString(16)}`;
    return this.end === this.address + 1 ? first : `${first}-0x${(this.end - 1).toString(16)}`;
  }
}
