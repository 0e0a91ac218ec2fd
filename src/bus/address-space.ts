/**
 * Which device answers at which address: the guest's I/O ports, or the part of
 * its physical memory that is not RAM.
 *
 * Every thread has its own, assembled alike. An address nobody claims is an
 * empty slot: reads give all ones, writes vanish. An access that lies only
 * partly in a window is done byte by byte, each where it belongs.
 *
 * Some windows move, because the guest writes their addresses into registers (a
 * PCI device's BARs). They are derived from those registers, all at once, when a
 * shared generation says that a register changed. A moving window that would
 * overlap a window which is there already is not decoded: the guest cannot take
 * addresses from another device.
 */
import { OptionError } from "../base/errors.ts";
import type { Generation } from "../base/generation.ts";
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

/** A range of addresses that a device claims now. */
export interface Range {
  readonly address: number;
  /** Bytes; 0 if the device claims nothing. */
  readonly length: number;
}

/** A window whose place the guest decides. */
export interface MovingWindow {
  readonly name: string;
  readonly device: IoDevice;
  /** Where it is now, from the device's registers. Any numbers may come: the guest wrote them. */
  place(): Range;
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
  /** Windows by address. */
  #sorted: Placed[] = [];
  /** Those of them that do not move. */
  #fixed: Placed[] = [];
  readonly #moving: { readonly index: number; readonly window: MovingWindow }[] = [];
  readonly #generation: Generation | undefined;
  /** Moving windows are where this generation has them. */
  #seen = 0;
  /** Memory: the window found last; a driver stays with one device for a while. */
  #last: Placed | undefined;

  /**
   * @param kind   "ports": 64 Ki I/O ports; "memory": guest-physical addresses
   * @param counts accesses by window index (see `names`); at least one more than there will be windows.
   *               This thread increments, any thread may read.
   * @param generation bumped after each change of a register that moves a window
   */
  constructor(kind: "ports" | "memory", counts: Float64Array, generation?: Generation) {
    this.#end = kind === "ports" ? PORTS : MEMORY;
    this.#routes = kind === "ports" ? new Uint8Array(PORTS) : undefined;
    this.#counts = counts;
    this.#generation = generation;
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
    const taken = this.#sorted.find((other) => overlaps(other, placed));
    if (taken !== undefined) {
      throw new OptionError(`${window.name} at ${placed.range} overlaps ${taken.name} at ${taken.range}`);
    }
    if (placed.index > MAX_WINDOWS || placed.index >= this.#counts.length) {
      throw new OptionError(`${window.name}: no room for more than ${placed.index - 1} devices`);
    }
    this.#windows.push(placed);
    this.#fixed = [...this.#fixed, placed];
    this.#sorted = byAddress([...this.#sorted, placed]);
    this.#routes?.fill(placed.index, address, end);
  }

  /** Adds a window that moves. @throws {OptionError} if it is one too many, or no generation was given */
  addMoving(window: MovingWindow): void {
    if (this.#generation === undefined)
      throw new OptionError(`${window.name}: this bus has no moving windows`);
    const index = this.#windows.length;
    if (index > MAX_WINDOWS || index >= this.#counts.length) {
      throw new OptionError(`${window.name}: no room for more than ${index - 1} devices`);
    }
    this.#windows.push(
      new Placed(index, { name: window.name, device: window.device, address: 0, length: 0 }),
    );
    this.#moving.push({ index, window });
    this.#derive(this.#generation.current);
  }

  /** The window that `address` lies in. */
  find(address: number): Window | undefined {
    this.#follow();
    return this.#at(address)?.window;
  }

  read(address: number, size: AccessSize): number {
    // Once an access: one that is split in bytes finds all of them in the same places.
    if (this.#moving.length > 0) this.#follow();
    return this.#read(address, size);
  }

  write(address: number, size: AccessSize, value: number): void {
    if (this.#moving.length > 0) this.#follow();
    this.#write(address, size, value);
  }

  /** Reads of one address, as many as its device answers at once: see IoDevice.readBlock. */
  readBlock(address: number, size: AccessSize, into: Uint8Array, at: number, length: number): number {
    if (this.#moving.length > 0) this.#follow();
    const placed = this.#at(address);
    if (placed === undefined || address + size > placed.end) return 0;
    const { device, base, index } = placed;
    const bytes = device.readBlock?.(base + (address - placed.address), size, into, at, length) ?? 0;
    this.#counts[index] += bytes / size;
    return bytes;
  }

  /** The same for writes. */
  writeBlock(address: number, size: AccessSize, from: Uint8Array, at: number, length: number): number {
    if (this.#moving.length > 0) this.#follow();
    const placed = this.#at(address);
    if (placed === undefined || address + size > placed.end) return 0;
    const { device, base, index } = placed;
    const bytes = device.writeBlock?.(base + (address - placed.address), size, from, at, length) ?? 0;
    this.#counts[index] += bytes / size;
    return bytes;
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
    this.#follow();
    return this.#sorted.map((placed) => placed.window);
  }

  #read(address: number, size: AccessSize): number {
    const placed = this.#at(address);
    if (placed !== undefined && address + size <= placed.end) {
      this.#counts[placed.index]++;
      return placed.device.read(placed.base + (address - placed.address), size);
    }
    if (this.#touches(address, size)) {
      let value = 0;
      for (let i = 0; i < size; i++) value |= this.#read(address + i, 1) << (8 * i);
      return value >>> 0;
    }
    this.#counts[NOBODY]++;
    const ones = size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
    if (this.onUnclaimed !== undefined) this.onUnclaimed("read", address, size, ones);
    return ones;
  }

  #write(address: number, size: AccessSize, value: number): void {
    const placed = this.#at(address);
    if (placed !== undefined && address + size <= placed.end) {
      this.#counts[placed.index]++;
      const after = placed.device.write(placed.base + (address - placed.address), size, value);
      if (after !== undefined) after.settle();
    } else if (this.#touches(address, size)) {
      for (let i = 0; i < size; i++) this.#write(address + i, 1, (value >>> (8 * i)) & 0xff);
    } else {
      this.#counts[NOBODY]++;
      if (this.onUnclaimed !== undefined) this.onUnclaimed("write", address, size, value);
    }
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

  #follow(): void {
    const generation = this.#generation?.current ?? 0;
    if (generation !== this.#seen) this.#derive(generation);
  }

  /** Places the moving windows anew. What changes after `generation` was read comes with a later one. */
  #derive(generation: number): void {
    this.#seen = generation;
    this.#last = undefined;
    const sorted = [...this.#fixed];
    for (const { index, window } of this.#moving) {
      const { address, length } = window.place();
      const { name, device } = window;
      const placed = new Placed(index, { name, device, address, length });
      this.#windows[index] = placed;
      const fits = address >= 0 && length > 0 && placed.end <= this.#end;
      if (fits && !sorted.some((other) => overlaps(other, placed))) sorted.push(placed);
    }
    this.#sorted = byAddress(sorted);
    this.#routes?.fill(NOBODY);
    for (const { index, address, end } of this.#sorted) this.#routes?.fill(index, address, end);
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

function overlaps(a: Placed, b: Placed): boolean {
  return a.address < b.end && b.address < a.end;
}

function byAddress(windows: Placed[]): Placed[] {
  return windows.sort((a, b) => a.address - b.address);
}
