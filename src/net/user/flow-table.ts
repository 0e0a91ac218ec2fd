/**
 * Connections and sessions by their endpoints, as they are in a packet of the guest: source and
 * destination address, source and destination port. A lookup allocates nothing.
 */
import { areEqual, copyBytes, put16 } from "./bytes.ts";
import type { Packet } from "./packet.ts";

/** The endpoints of a flow: the guest's address, the outer address, the guest's port, the outer port. */
export class FlowKey {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
  readonly guestPort: number;
  readonly outerPort: number;

  constructor(guest: Uint8Array, guestPort: number, outer: Uint8Array, outerPort: number) {
    const size = guest.length;
    this.family = size === 4 ? 4 : 6;
    this.bytes = new Uint8Array(2 * size + 4);
    this.bytes.set(guest);
    this.bytes.set(outer, size);
    put16(this.bytes, 2 * size, guestPort);
    put16(this.bytes, 2 * size + 2, outerPort);
    this.guestPort = guestPort;
    this.outerPort = outerPort;
  }

  static of({ bytes, addresses, addressBytes, destination, sourcePort, destinationPort }: Packet): FlowKey {
    return new FlowKey(
      bytes.slice(addresses, destination),
      sourcePort,
      bytes.slice(destination, destination + addressBytes),
      destinationPort,
    );
  }

  get addressBytes(): number {
    return this.family === 4 ? 4 : 16;
  }

  get guest(): Uint8Array {
    return this.bytes.subarray(0, this.addressBytes);
  }

  get outer(): Uint8Array {
    return this.bytes.subarray(this.addressBytes, 2 * this.addressBytes);
  }
}

export interface Flow {
  readonly key: FlowKey;
}

interface Entry<T> {
  readonly flow: T;
  next: Entry<T> | undefined;
}

const FIRST_EPHEMERAL = 49_152;

export class FlowTable<T extends Flow> implements Iterable<T> {
  readonly #buckets = new Map<number, Entry<T>>();
  readonly #scratch = new Uint8Array(36);
  #size = 0;
  #nextPort = FIRST_EPHEMERAL;

  get size(): number {
    return this.#size;
  }

  find({ bytes, addresses, addressBytes, sourcePort, destinationPort }: Packet): T | undefined {
    const scratch = this.#scratch;
    const length = 2 * addressBytes;
    copyBytes(bytes, addresses, scratch, 0, length);
    put16(scratch, length, sourcePort);
    put16(scratch, length + 2, destinationPort);
    return this.#lookUp(scratch, length + 4);
  }

  has({ bytes }: FlowKey): boolean {
    return this.#lookUp(bytes, bytes.length) !== undefined;
  }

  /** Endpoints for a flow that begins outside; for the guest it comes from a port of `from`. */
  freeKey(guest: Uint8Array, guestPort: number, from: Uint8Array): FlowKey {
    let key: FlowKey;
    do {
      key = new FlowKey(guest, guestPort, from, this.#nextPort);
      this.#nextPort = this.#nextPort === 65_535 ? FIRST_EPHEMERAL : this.#nextPort + 1;
    } while (this.has(key)); // MAX_SESSIONS and MAX_CONNECTIONS are less than the number of ports
    return key;
  }

  add(flow: T): void {
    const hash = hashOf(flow.key.bytes, flow.key.bytes.length);
    this.#buckets.set(hash, { flow, next: this.#buckets.get(hash) });
    this.#size++;
  }

  delete(flow: T): void {
    const hash = hashOf(flow.key.bytes, flow.key.bytes.length);
    let before: Entry<T> | undefined;
    for (let entry = this.#buckets.get(hash); entry !== undefined; before = entry, entry = entry.next) {
      if (entry.flow !== flow) continue;
      if (before !== undefined) before.next = entry.next;
      else if (entry.next !== undefined) this.#buckets.set(hash, entry.next);
      else this.#buckets.delete(hash);
      this.#size--;
      return;
    }
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const first of this.#buckets.values()) {
      for (let entry: Entry<T> | undefined = first; entry !== undefined; entry = entry.next) yield entry.flow;
    }
  }

  #lookUp(bytes: Uint8Array, length: number): T | undefined {
    let entry = this.#buckets.get(hashOf(bytes, length));
    while (entry !== undefined) {
      const { key } = entry.flow;
      if (key.bytes.length === length && areEqual(key.bytes, 0, bytes, 0, length)) return entry.flow;
      entry = entry.next;
    }
    return undefined;
  }
}

/** FNV-1a; 30 bits, which V8 stores without an object. */
function hashOf(bytes: Uint8Array, length: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return (hash >>> 2) ^ (hash & 3);
}
