/**
 * The driver's side of virtio, for tests: guest RAM that detects accesses outside
 * it, rings as a guest lays them out, and a device connected to its transport and its
 * queue runner on one thread.
 */
import { Lock } from "../../src/base/lock.ts";
import { Guarded } from "../../src/bus/guarded.ts";
import type { DirtySink } from "../../src/memory/dirty-sink.ts";
import { GuestMemory, type RamSource } from "../../src/memory/guest-memory.ts";
import type { DeviceReport, VirtioDevice } from "../../src/virtio/device.ts";
import { QueueRunner, QueueRunnerState } from "../../src/virtio/queue/queue-runner.ts";
import { QueueConfigState, QueueCursorState } from "../../src/virtio/queue/split-queue.ts";
import * as spec from "../../src/virtio/spec.ts";
import { type MmioWiring, VirtioMmio, VirtioMmioState } from "../../src/virtio/transport/mmio.ts";
import * as mmio from "../../src/virtio/transport/mmio-registers.ts";

/** Guest-physical address and size of test RAM. The mapping is larger; the memory around RAM must not change. */
export const RAM = 0x10_0000;
export const RAM_BYTES = 0x4_0000;
const BEFORE = 0x3000;
const AFTER = 0x1000;
export const MAPPING_BYTES = BEFORE + RAM_BYTES + AFTER;

export class TestMemory extends GuestMemory {
  readonly bytes: Uint8Array;

  /** @param source real guest RAM of MAPPING_BYTES, for tests with native code. */
  constructor(source?: RamSource) {
    const buffer = source?.map(0, MAPPING_BYTES) ?? new ArrayBuffer(MAPPING_BYTES);
    super({ size: MAPPING_BYTES, map: () => buffer }, [{ address: RAM, size: RAM_BYTES, offset: BEFORE }]);
    this.bytes = new Uint8Array(buffer);
  }

  /** Fails the test if something outside RAM was accessed, which must not happen whatever the guest wrote. */
  check(offset: number, length: number): void {
    if (!(offset >= BEFORE && offset + length <= BEFORE + RAM_BYTES)) {
      throw new Error(`access outside RAM: ${length} bytes at RAM offset ${offset}`);
    }
  }

  override getUint8(offset: number): number {
    this.check(offset, 1);
    return super.getUint8(offset);
  }
  override getUint16(offset: number): number {
    this.check(offset, 2);
    return super.getUint16(offset);
  }
  override getUint32(offset: number): number {
    this.check(offset, 4);
    return super.getUint32(offset);
  }
  override getUint64(offset: number): number {
    this.check(offset, 8);
    return super.getUint64(offset);
  }
  override setUint8(offset: number, value: number): void {
    this.check(offset, 1);
    super.setUint8(offset, value);
  }
  override setUint16(offset: number, value: number): void {
    this.check(offset, 2);
    super.setUint16(offset, value);
  }
  override setUint32(offset: number, value: number): void {
    this.check(offset, 4);
    super.setUint32(offset, value);
  }
  override window(offset: number, length: number): Uint8Array {
    this.check(offset, length);
    return super.window(offset, length);
  }

  /** RAM at a guest-physical address, as the guest sees it. */
  at(address: number): DataView {
    const start = BEFORE + address - RAM;
    return new DataView(this.bytes.buffer, start, BEFORE + RAM_BYTES - start);
  }
}

export interface Buffer {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

export interface Descriptor {
  readonly address?: number | bigint;
  readonly length?: number;
  readonly flags?: number;
  readonly next?: number;
}

/** The driver's side of a queue. */
export class DriverQueue {
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  readonly #memory: TestMemory;
  /** The driver's free-running counter. */
  availIndex = 0;
  #seenUsed = 0;
  #nextFree = 0;

  /** Places the three parts from `address` on, the used ring at a multiple of `alignment`. */
  constructor(memory: TestMemory, size: number, address = RAM, alignment = 4) {
    this.#memory = memory;
    this.size = size;
    this.desc = address;
    this.driver = address + 16 * size;
    this.device = Math.ceil((this.driver + 6 + 2 * size) / alignment) * alignment;
  }

  /** First address behind the three parts. */
  get end(): number {
    return this.device + 6 + 8 * this.size;
  }

  /** Writes one entry of the queue's table, or of an indirect table at `table`. */
  describe(
    index: number,
    { address = 0, length = 0, flags = 0, next = 0 }: Descriptor,
    table = this.desc,
  ): void {
    const entry = this.#memory.at(table + 16 * index);
    entry.setBigUint64(0, BigInt(address), true);
    entry.setUint32(8, length, true);
    entry.setUint16(12, flags, true);
    entry.setUint16(14, next, true);
  }

  /** Puts a head into the available ring and increments the index. */
  offer(head: number): void {
    this.#memory.at(this.driver + 4 + 2 * (this.availIndex % this.size)).setUint16(0, head, true);
    this.setAvailIndex(this.availIndex + 1);
  }

  setAvailIndex(index: number): void {
    this.availIndex = index & 0xffff;
    this.#memory.at(this.driver + 2).setUint16(0, this.availIndex, true);
  }

  /** Starts both rings at `index`, as after that many requests. */
  startAt(index: number): void {
    this.setAvailIndex(index);
    this.#seenUsed = index;
  }

  /** Offers a chain of buffers, in an indirect table at `indirect` if given. Returns its head. */
  add(buffers: readonly Buffer[], indirect?: number): number {
    const head = this.#nextFree % this.size;
    if (indirect !== undefined) {
      buffers.forEach((buffer, i) => {
        this.#describeBuffer(buffer, i, i + 1, i === buffers.length - 1, indirect);
      });
      this.describe(head, { address: indirect, length: 16 * buffers.length, flags: spec.DESC_F_INDIRECT });
      this.#nextFree += 1;
    } else {
      buffers.forEach((buffer, i) => {
        const index = (head + i) % this.size;
        this.#describeBuffer(buffer, index, (index + 1) % this.size, i === buffers.length - 1, this.desc);
      });
      this.#nextFree += buffers.length;
    }
    this.offer(head);
    return head;
  }

  #describeBuffer(buffer: Buffer, index: number, next: number, last: boolean, table: number): void {
    const flags = (last ? 0 : spec.DESC_F_NEXT) | (buffer.writable === true ? spec.DESC_F_WRITE : 0);
    this.describe(
      index,
      { address: buffer.address, length: buffer.length, flags, next: last ? 0 : next },
      table,
    );
  }

  /** The elements that the device has used since the last call. */
  used(): { id: number; length: number }[] {
    const ring = this.#memory.at(this.device);
    const elements = [];
    for (const index = ring.getUint16(2, true); this.#seenUsed !== index; ) {
      const at = 4 + 8 * (this.#seenUsed % this.size);
      elements.push({ id: ring.getUint32(at, true), length: ring.getUint32(at + 4, true) });
      this.#seenUsed = (this.#seenUsed + 1) & 0xffff;
    }
    return elements;
  }

  set noInterrupt(on: boolean) {
    this.#memory.at(this.driver).setUint16(0, on ? spec.AVAIL_F_NO_INTERRUPT : 0, true);
  }

  set usedEvent(index: number) {
    this.#memory.at(this.driver + 4 + 2 * this.size).setUint16(0, index, true);
  }

  get availEvent(): number {
    return this.#memory.at(this.device + 4 + 8 * this.size).getUint16(0, true);
  }

  get noNotify(): boolean {
    return (this.#memory.at(this.device).getUint16(0, true) & spec.USED_F_NO_NOTIFY) !== 0;
  }
}

/** A new state block, as an arena allocates it. */
export function blank<V>(layout: { size: number; view(buffer: ArrayBufferLike, offset: number): V }): V {
  return layout.view(new SharedArrayBuffer(layout.size), 0);
}

/** A device with its transport and its queue runner, and a driver that accesses the registers. */
export class Plugged {
  readonly memory: TestMemory;
  readonly reports: DeviceReport[] = [];
  readonly runner: QueueRunner;
  readonly transport: VirtioMmio;
  readonly lock = new Lock(new Int32Array(new SharedArrayBuffer(4)), 0);
  readonly configs;
  readonly cursors;
  readonly runnerState = blank(QueueRunnerState);
  readonly regs = blank(VirtioMmioState);
  interrupts = 0;
  /** Queues of which the driver notified by a store that was an exit. */
  readonly notified: number[] = [];
  resetsAwaited = 0;
  /** As the io thread, of which a test may have another one than `runner`. */
  settleEpoch: () => void = () => void this.runner.settleEpoch();
  readonly #bus: Guarded;
  /** What a runner or a task is made of. */
  readonly parts;

  /** @param more optional wires of the transport */
  constructor(device: VirtioDevice, memory: TestMemory, more: Partial<MmioWiring> = {}, dirty?: DirtySink) {
    this.memory = memory;
    this.configs = device.queueSizes.map(() => blank(QueueConfigState));
    this.cursors = device.queueSizes.map(() => blank(QueueCursorState));
    this.transport = new VirtioMmio(device, this.regs, this.configs, {
      interrupt: { pulse: () => void this.interrupts++ },
      notify: { notify: (queue) => void this.notified.push(queue) },
      ...more,
      queuesReset: {
        settle: () => {
          this.resetsAwaited++;
          this.settleEpoch();
        },
      },
    });
    this.#bus = new Guarded(this.transport, this.lock);
    this.parts = {
      name: "test0",
      device,
      transport: this.transport,
      configs: this.configs,
      cursors: this.cursors,
      state: this.runnerState,
      memory,
      dirty,
      lock: this.lock,
      report: (report: DeviceReport) => void this.reports.push(report),
    };
    this.runner = new QueueRunner(this.parts);
  }

  /** Another runner over the same state, as in a restored machine. */
  newRunner(device: VirtioDevice = this.parts.device): QueueRunner {
    return new QueueRunner({ ...this.parts, device });
  }

  read(offset: number): number {
    return this.#bus.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.#bus.write(offset, 4, value);
  }

  get status(): number {
    return this.read(mmio.STATUS);
  }

  get needsReset(): boolean {
    return (this.status & spec.DEVICE_NEEDS_RESET) !== 0;
  }

  /** Steps 1 to 6 of 3.1.1. True if the device accepted the features; by default all that it offers. */
  negotiate(without = { low: 0, high: 0 }): boolean {
    this.write(mmio.STATUS, 0);
    this.settleEpoch(); // as the io thread does before it serves a queue
    this.write(mmio.STATUS, spec.ACKNOWLEDGE);
    this.write(mmio.STATUS, spec.ACKNOWLEDGE | spec.DRIVER);
    for (const [select, mask] of [~without.low, ~without.high].entries()) {
      this.write(mmio.DEVICE_FEATURES_SEL, select);
      this.write(mmio.DRIVER_FEATURES_SEL, select);
      this.write(mmio.DRIVER_FEATURES, (this.read(mmio.DEVICE_FEATURES) & mask) >>> 0);
    }
    this.write(mmio.STATUS, spec.ACKNOWLEDGE | spec.DRIVER | spec.FEATURES_OK);
    return (this.status & spec.FEATURES_OK) !== 0;
  }

  setQueue(index: number, queue: DriverQueue): void {
    this.write(mmio.QUEUE_SEL, index);
    this.write(mmio.QUEUE_NUM, queue.size);
    this.write(mmio.QUEUE_DESC_LOW, queue.desc);
    this.write(mmio.QUEUE_DRIVER_LOW, queue.driver);
    this.write(mmio.QUEUE_DEVICE_LOW, queue.device);
    this.write(mmio.QUEUE_READY, 1);
  }

  driverOk(): void {
    this.write(mmio.STATUS, this.status | spec.DRIVER_OK);
  }

  /** Everything a driver does before the first request, with one queue of `size` descriptors. */
  bringUp(size: number, without = { low: 0, high: 0 }): DriverQueue {
    const queue = new DriverQueue(this.memory, size);
    this.negotiate(without);
    this.setQueue(0, queue);
    this.driverOk();
    return queue;
  }
}
