/** Ethernet addresses of the guest's IP addresses, learned from the packets that it sends. */
import { areEqual, copyBytes } from "./bytes.ts";

const MAX_NEIGHBOURS = 64;
export const BROADCAST_MAC = new Uint8Array(6).fill(0xff);

interface Neighbour {
  readonly address: Uint8Array;
  readonly mac: Uint8Array;
}

export class Neighbours {
  /** The latest that was new is first. A guest has few. */
  #known: Neighbour[] = [];

  find(address: Uint8Array, at = 0, length = address.length): Uint8Array | undefined {
    for (const each of this.#known) {
      if (each.address.length === length && areEqual(each.address, 0, address, at, length)) return each.mac;
    }
    return undefined;
  }

  /** Notes who sent a frame. True: the address is new. */
  learn(frame: Uint8Array, macAt: number, addressAt: number, addressBytes: number): boolean {
    const mac = this.find(frame, addressAt, addressBytes);
    if (mac !== undefined) {
      copyBytes(frame, macAt, mac, 0, 6);
      return false;
    }
    this.#known.unshift({
      address: frame.slice(addressAt, addressAt + addressBytes),
      mac: frame.slice(macAt, macAt + 6),
    });
    this.#known.length = Math.min(this.#known.length, MAX_NEIGHBOURS);
    return true;
  }

  clear(): void {
    this.#known = [];
  }
}
