/**
 * A demo's guest, as scripts/assemble.mjs writes it: the flat image of NAME.s, the
 * addresses of its labels, and the source line of each instruction.
 */
import { readFileSync } from "node:fs";

/** NAME.json, beside NAME.bin. */
interface Listing {
  /** Guest-physical address of the image's first byte. */
  readonly origin: number;
  /** Labels and named constants of the source. */
  readonly symbols: Readonly<Record<string, number>>;
  /** Source text of each instruction, by its address. */
  readonly source: Readonly<Record<string, string>>;
}

export class Guest {
  /** The image, code and data. */
  readonly bytes: Uint8Array;
  /** Guest-physical address that the image is linked for. */
  readonly origin: number;
  readonly #symbols: ReadonlyMap<string, number>;
  readonly #source: ReadonlyMap<number, string>;

  /** The guest that was assembled from NAME.s. */
  constructor(name: string) {
    this.bytes = readFileSync(new URL(`${name}.bin`, import.meta.url));
    const listing: Listing = JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), "utf8"));
    this.origin = listing.origin;
    this.#symbols = new Map(Object.entries(listing.symbols));
    this.#source = new Map(Object.entries(listing.source).map(([at, text]) => [Number(at), text]));
  }

  /** The value of a label (an address) or named constant of NAME.s. @throws {Error} if there is none. */
  symbol(name: string): number {
    const value = this.#symbols.get(name);
    if (value === undefined) throw new Error(`the guest has no label "${name}"`);
    return value;
  }

  /** The address of the guest's first instruction: its label `start`. */
  get entry(): number {
    return this.symbol("start");
  }

  /** The line of NAME.s of the instruction at `address`; undefined where no instruction begins. */
  sourceAt(address: number): string | undefined {
    return this.#source.get(address);
  }
}
