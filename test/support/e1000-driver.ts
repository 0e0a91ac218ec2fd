/** An e1000 card with a driver's rings, and a back end in memory. */
import { Lock } from "../../src/base/lock.ts";
import { E1000, E1000Ports } from "../../src/e1000/e1000.ts";
import { E1000Task } from "../../src/e1000/e1000-task.ts";
import * as reg from "../../src/e1000/registers.ts";
import { NET_FIELDS } from "../../src/net/card-counters.ts";
import { parseMac } from "../../src/net/mac.ts";
import { NET_HEADER_BYTES } from "../../src/net/offloads.ts";
import { FakeBackend } from "./net-rig.ts";
import { blank, RAM, TestMemory } from "./virtio-driver.ts";

export const MAC = "52:54:00:12:34:56";
export const TX = RAM;
export const RX = RAM + 0x1000;
export const BUFFERS = RAM + 0x1_0000;
const RING = 16;

export const EOP = 1 << 24;
export const IFCS = 1 << 25;
export const TSE = 1 << 26;
export const RS = 1 << 27;
export const DEXT = 1 << 29;
export const VLE = 1 << 30;
export const DATA = DEXT | (1 << 20);

export class E1000Rig {
  readonly memory = new TestMemory();
  readonly backend = new FakeBackend(this.memory);
  readonly regs = blank(reg.E1000State);
  readonly counters = new Float64Array(NET_FIELDS.length);
  readonly card: E1000;
  readonly ports: E1000Ports;
  readonly task: E1000Task;
  level = false;
  timeMs = 0;
  busMaster = true;
  works = 0;

  constructor(offloads = 15) {
    this.card = new E1000(parseMac(MAC), this.regs, {
      irq: {
        set: (asserted) => {
          this.level = asserted;
        },
      },
      work: { raise: () => void this.works++ },
    });
    this.ports = new E1000Ports(this.card, this.regs);
    this.card.reset();
    this.task = new E1000Task({
      ...{
        name: "e1000-0",
        regs: this.regs,
        lock: new Lock(new Int32Array(new SharedArrayBuffer(4)), 0),
        memory: this.memory,
        offloads,
      },
      ...{
        dirty: { on: false, mark() {} },
        report: () => {},
        backend: this.backend,
        counters: this.counters,
      },
      ...{ interrupts: this.card.interrupts, mayMaster: () => this.busMaster, now: () => this.timeMs },
    });
  }

  in(offset: number): number {
    return this.card.read(offset, 4);
  }

  out(offset: number, value: number): void {
    this.card.write(offset, 4, value >>> 0);
  }

  /** Sets up both rings; the receive ring is full of buffers of 2048 bytes. */
  start(rctl = reg.RCTL_EN | reg.RCTL_BAM): this {
    this.out(reg.TDBAL, TX);
    this.out(reg.TDLEN, 16 * RING);
    this.out(reg.TCTL, reg.TCTL_EN);
    this.out(reg.RDBAL, RX);
    this.out(reg.RDLEN, 16 * RING);
    for (let n = 0; n < RING; n++) this.descriptor(RX, n, BUFFERS + 0x1000 * n, 0, 0);
    this.out(reg.RDT, RING - 1);
    this.out(reg.RCTL, rctl);
    return this;
  }

  /** Writes descriptor `index` of a ring. */
  descriptor(ring: number, index: number, address: number, command: number, status: number): void {
    const at = this.memory.translate(ring + 16 * index, 16);
    this.memory.setUint32(at, address % 2 ** 32);
    this.memory.setUint32(at + 4, Math.floor(address / 2 ** 32));
    this.memory.setUint32(at + 8, command >>> 0);
    this.memory.setUint32(at + 12, status >>> 0);
  }

  /** The four words of a descriptor. */
  words(ring: number, index: number): number[] {
    const at = this.memory.translate(ring + 16 * index, 16);
    return [0, 4, 8, 12].map((offset) => this.memory.getUint32(at + offset));
  }

  /** Queues one descriptor for sending; the tail is not moved. */
  queue(index: number, bytes: Uint8Array, command: number, status = 0): void {
    const address = RAM + 0x2_0000 + 0x1_0000 * (index % 2);
    this.memory.window(this.memory.translate(address, bytes.length), bytes.length).set(bytes);
    this.descriptor(TX, index, address, command | bytes.length, status);
  }

  context(index: number, words: readonly [number, number, number, number]): void {
    const at = this.memory.translate(TX + 16 * index, 16);
    for (const [n, word] of words.entries()) this.memory.setUint32(at + 4 * n, word >>> 0);
  }

  send(tail: number): void {
    this.out(reg.TDT, tail);
    this.task.turn(0);
  }

  receive(...frames: Uint8Array[]): void {
    this.backend.incoming.push(...frames);
    this.task.turn(1);
  }

  /** What the driver finds in receive buffer `index`. */
  received(index: number): { bytes: Uint8Array; status: number; errors: number; tag: number } {
    const [, , lengthAndSum, rest] = this.words(RX, index);
    const length = lengthAndSum & 0xffff;
    const from = this.memory.translate(BUFFERS + 0x1000 * index, length);
    const bytes = Uint8Array.from(this.memory.window(from, length));
    return { bytes, status: rest & 0xff, errors: (rest >>> 8) & 0xff, tag: rest >>> 16 };
  }

  /** What the back end got: the offload's header and the frame. */
  get sent(): { header: number[]; frame: Uint8Array }[] {
    return this.backend.sent.map(({ header: all }) => ({
      header: all.slice(0, NET_HEADER_BYTES),
      frame: Uint8Array.from(all.slice(NET_HEADER_BYTES)),
    }));
  }
}
