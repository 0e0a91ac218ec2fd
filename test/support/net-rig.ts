/** A virtio-net device with a driver's queues, and a back end in memory. */
import { EAGAIN } from "../../src/base/errno.ts";
import type { Pieces } from "../../src/base/pieces.ts";
import type { NetBackend } from "../../src/net/backend.ts";
import { NET_FIELDS } from "../../src/net/card-counters.ts";
import { NET_HEADER_BYTES } from "../../src/net/offloads.ts";
import { VirtioNet } from "../../src/virtio/net/net.ts";
import { VirtioNetState } from "../../src/virtio/net/net-registers.ts";
import { blank, DriverQueue, Plugged, RAM, TestMemory } from "./virtio-driver.ts";

export const MAC = "52:54:00:12:34:56";
export const MAC_BYTES = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/** Where the buffers of the driver begin; the queues are before. */
export const DATA = RAM + 0x1_0000;

export class FakeBackend implements NetBackend {
  readonly arrivals = [{}];
  readonly vacancies = [{}];
  /** Frames that the guest sent, with their headers. */
  readonly sent: { header: number[]; frame: Uint8Array }[] = [];
  /** Frames for the guest. */
  readonly incoming: Uint8Array[] = [];
  accepted = -1;
  pairs = -1;
  isFull = false;
  readonly #memory: TestMemory;

  constructor(memory: TestMemory) {
    this.#memory = memory;
  }

  send(_pair: number, header: Uint8Array, { pairs, first, count }: Pieces): number {
    if (this.isFull) return EAGAIN;
    const frame: number[] = [];
    for (let n = first; n < first + count; n++) {
      frame.push(...this.#memory.window(pairs[2 * n], pairs[2 * n + 1]));
    }
    this.sent.push({ header: [...header], frame: Uint8Array.from(frame) });
    return header.length + frame.length;
  }

  receive(_pair: number, into: Uint8Array): number {
    const frame = this.incoming.shift();
    if (frame === undefined) return EAGAIN;
    into.fill(0, 0, NET_HEADER_BYTES);
    into.set(frame, NET_HEADER_BYTES);
    return NET_HEADER_BYTES + frame.length;
  }

  accept(offloads: number): void {
    this.accepted = offloads;
  }

  usePairs(pairs: number): void {
    this.pairs = pairs;
  }

  close(): void {}
}

/** A frame of `length` bytes to an address, whose bytes count up. */
export function frameTo(destination: readonly number[], length = 60): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, n) => n & 0xff);
  frame.set(destination);
  frame.set([8, 0], 12);
  return frame;
}

export interface RigOptions {
  readonly queues?: number;
  readonly offloads?: number;
  readonly mtu?: number;
  /** Features that the driver does not take. */
  readonly without?: { low: number; high: number };
  readonly size?: number;
}

export function netRig({ queues = 1, offloads = 15, mtu, without, size = 16 }: RigOptions = {}) {
  const memory = new TestMemory();
  const backend = new FakeBackend(memory);
  const regs = blank(VirtioNetState);
  const counters = new Float64Array(NET_FIELDS.length);
  const io = { name: "net0", backend, memory, report: () => {}, counters };
  const device = new VirtioNet({ mac: MAC, mtu, queues, offloads }, regs, io);
  const plugged = new Plugged(device, memory);
  const accepted = plugged.negotiate(without);
  const driver = Array.from({ length: 2 * queues + 1 }, (_, n) => {
    return new DriverQueue(memory, size, RAM + n * 0x1000);
  });
  for (const [index, queue] of driver.entries()) plugged.setQueue(index, queue);
  plugged.driverOk();
  const count = (name: (typeof NET_FIELDS)[number]) => counters[NET_FIELDS.indexOf(name)];
  return { memory, backend, regs, device, plugged, driver, accepted, count };
}
