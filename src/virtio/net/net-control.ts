/**
 * The control queue of virtio-net: the driver says which frames it wants, what it
 * takes, and how many queue pairs it uses.
 *
 * Source: VIRTIO 1.2, 5.1.6.5 (Control Virtqueue).
 */
import { NEVER } from "../../bus/io-task.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { DeviceQueue } from "../device.ts";
import { Chain } from "../queue/chain.ts";
import {
  guestOffloads,
  MAC_BYTES,
  MAC_TABLE,
  type NetRegisters,
  switchableFeatures,
} from "./net-registers.ts";

const OK = 0;
const ERR = 1;

// Class and command, as one number.
const RX_PROMISC = 0x0000;
const RX_ALLMULTI = 0x0001;
const RX_ALLUNI = 0x0002;
const RX_NOMULTI = 0x0003;
const RX_NOUNI = 0x0004;
const RX_NOBCAST = 0x0005;
const MAC_TABLE_SET = 0x0100;
const MAC_ADDR_SET = 0x0101;
const VLAN_ADD = 0x0200;
const VLAN_DEL = 0x0201;
const ANNOUNCE_ACK = 0x0300;
const MQ_VQ_PAIRS_SET = 0x0400;
const GUEST_OFFLOADS_SET = 0x0500;

/** Addresses that a driver may give at all, so that a command takes no time to speak of. */
const MAX_ADDRESSES = 4096;
/** Buffers of a command, at most. */
const MAX_BUFFERS = 64;

/** What a command changes besides the registers. */
interface Changed {
  offloads(offloads: number): void;
  pairs(count: number): void;
}

export class NetControl {
  readonly #regs: NetRegisters;
  readonly #memory: GuestMemory;
  readonly #pairs: number;
  readonly #changed: Changed;
  readonly #chain: Chain;
  readonly #command = new Uint8Array(2);
  readonly #byte = new Uint8Array(1);
  readonly #word = new Uint8Array(2);
  readonly #count = new Uint8Array(4);
  readonly #mac = new Uint8Array(MAC_BYTES);
  readonly #offloads = new Uint8Array(8);

  /** @param pairs queue pairs that the card has */
  constructor(regs: NetRegisters, memory: GuestMemory, pairs: number, changed: Changed) {
    this.#regs = regs;
    this.#memory = memory;
    this.#pairs = pairs;
    this.#changed = changed;
    this.#chain = new Chain(memory, MAX_BUFFERS);
  }

  run(queue: DeviceQueue): number {
    const chain = this.#chain;
    while (queue.pop(chain)) {
      const status = chain.takeLastWritable("the status of a command");
      chain.takeReadable(this.#command, "a command");
      const done = this.#carryOut((this.#command[0] << 8) | this.#command[1], chain);
      this.#memory.setUint8(status, done ? OK : ERR);
      queue.push(chain.head, 1);
    }
    return NEVER;
  }

  /** False if it cannot be done. */
  #carryOut(command: number, chain: Chain): boolean {
    const regs = this.#regs;
    switch (command) {
      case RX_PROMISC:
      case RX_ALLMULTI:
      case RX_ALLUNI:
      case RX_NOMULTI:
      case RX_NOUNI:
      case RX_NOBCAST:
        return this.#setMode(command, chain);
      case MAC_TABLE_SET:
        return this.#setTables(chain);
      case MAC_ADDR_SET:
        if (!has(chain, this.#mac)) return false;
        regs.mac.set(this.#mac);
        return true;
      case VLAN_ADD:
      case VLAN_DEL:
        return this.#setVlan(command === VLAN_ADD, chain);
      case ANNOUNCE_ACK:
        regs.announce = 0;
        return true;
      case MQ_VQ_PAIRS_SET: {
        if (!has(chain, this.#word)) return false;
        const count = this.#word[0] | (this.#word[1] << 8);
        if (count === 0 || count > this.#pairs) return false;
        regs.pairs = count;
        this.#changed.pairs(count);
        return true;
      }
      case GUEST_OFFLOADS_SET: {
        if (!has(chain, this.#offloads)) return false;
        const view = new DataView(this.#offloads.buffer);
        const wanted = view.getUint32(0, true);
        // Only what was negotiated (5.1.6.5.6.2).
        if (view.getUint32(4, true) !== 0 || (wanted & ~switchableFeatures(regs.features)) !== 0)
          return false;
        regs.offloads = guestOffloads(wanted);
        this.#changed.offloads(regs.offloads);
        return true;
      }
      default:
        return false;
    }
  }

  #setMode(command: number, chain: Chain): boolean {
    const regs = this.#regs;
    if (!has(chain, this.#byte)) return false;
    const on = this.#byte[0] === 0 ? 0 : 1;
    if (command === RX_PROMISC) regs.promiscuous = on;
    else if (command === RX_ALLMULTI) regs.allMulticast = on;
    else if (command === RX_ALLUNI) regs.allUnicast = on;
    else if (command === RX_NOMULTI) regs.noMulticast = on;
    else if (command === RX_NOUNI) regs.noUnicast = on;
    else regs.noBroadcast = on;
    return true;
  }

  /** Two tables: unicast, then multicast addresses. */
  #setTables(chain: Chain): boolean {
    const regs = this.#regs;
    const unicast = this.#readTable(chain, regs.unicastTable);
    if (unicast < 0) return false;
    const multicast = this.#readTable(chain, regs.multicastTable);
    if (multicast < 0) return false;
    regs.unicast = unicast;
    regs.multicast = multicast;
    return true;
  }

  /** The number of its entries; more than MAC_TABLE if they do not all fit. -1 for a table that is cut short. */
  #readTable(chain: Chain, table: Uint8Array): number {
    if (!has(chain, this.#count)) return -1;
    const count = new DataView(this.#count.buffer).getUint32(0, true);
    if (count > MAX_ADDRESSES || count * MAC_BYTES > chain.readableBytes) return -1;
    for (let n = 0; n < count; n++) {
      // All of them, as the other table follows.
      chain.takeReadable(this.#mac, "an address");
      if (n < MAC_TABLE) table.set(this.#mac, MAC_BYTES * n);
    }
    return Math.min(count, MAC_TABLE + 1);
  }

  #setVlan(add: boolean, chain: Chain): boolean {
    if (!has(chain, this.#word)) return false;
    const vlan = this.#word[0] | (this.#word[1] << 8);
    if (vlan > 4095) return false;
    const bit = 1 << (vlan & 7);
    if (add) this.#regs.vlans[vlan >> 3] |= bit;
    else this.#regs.vlans[vlan >> 3] &= ~bit;
    return true;
  }
}

/** Takes `into.length` bytes off the front, if there are so many. */
function has(chain: Chain, into: Uint8Array): boolean {
  if (chain.readableBytes < into.length) return false;
  chain.takeReadable(into, "an argument");
  return true;
}
