/**
 * virtio-scsi: a controller with SCSI disks. Here are its features and its
 * configuration, which vCPU threads serve. The io thread's side is in
 * scsi-requests.ts and scsi-control.ts.
 *
 * Source: VIRTIO 1.2, 5.6 (SCSI Host Device).
 *
 * Not offered: INOUT and T10_PI, which no disk here needs, and HOTPLUG: units do
 * not come and go.
 */
import { type Fields, type Layout, layout, type View } from "../../base/layout.ts";
import type { AccessSize } from "../../bus/io.ts";
import { NEVER } from "../../bus/io-task.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { UnitState } from "../../scsi/unit.ts";
import type { DeviceQueue, VirtioDevice } from "../device.ts";
import type { DiskRequests } from "../disk-requests.ts";
import { DeferredHeads, DeferredHeadsState } from "../queue/deferred-heads.ts";
import { DEVICE_ID_SCSI } from "../spec.ts";
import { CONTROL_QUEUE, EVENT_QUEUE, FIRST_REQUEST_QUEUE, ScsiControl } from "./scsi-control.ts";
import { ScsiRequests } from "./scsi-requests.ts";
import type { ScsiSizes } from "./scsi-responses.ts";
import { MAX_LUN, MAX_TARGET, ScsiUnits, type ServedUnit } from "./scsi-units.ts";

/** 5.6.3, Feature bits. */
const SCSI_F_CHANGE = 1 << 2;

export const QUEUE_SIZE = DeferredHeads.CAPACITY;
/** Request and response take a descriptor each. */
const NO_SEGMENTS = 2;
const EVENT_INFO_BYTES = 16;
const COMMANDS_PER_UNIT = 128;
const MAX_SECTORS = 0xffff;
const CDB_BYTES = 32;
const SENSE_BYTES = 96;
/** What a driver may choose in their place. */
const MOST_BYTES = 255;

/** 5.6.4, Device configuration layout. */
const VirtioScsiConfig = layout("virtio_scsi_config", 1, {
  numQueues: "u32",
  segMax: "u32",
  maxSectors: "u32",
  cmdPerLun: "u32",
  eventInfoSize: "u32",
  senseSize: "u32",
  cdbSize: "u32",
  maxChannel: "u16",
  maxTarget: "u16",
  maxLun: "u32",
});
const CONFIG_BYTES = 36;
const SENSE_SIZE = VirtioScsiConfig.offsets.senseSize;
const CDB_SIZE = VirtioScsiConfig.offsets.cdbSize;

/** Written by vCPU threads. */
const VirtioScsiState = layout("virtio-scsi", 1, {
  senseSize: "u32",
  cdbSize: "u32",
  resets: "u32", // counts resets of the device
});

/** Written by the io thread. */
const VirtioScsiIoState = layout("virtio-scsi-io", 1, {
  resets: "u32", // those that the units have followed
});

/** A bit for each unit: its capacity has changed, and the driver was not notified. */
const ChangedState = layout("virtio-scsi-changed", 1, { units: { bytes: 256 } });

/** All that a controller keeps in state blocks. */
export interface ScsiState {
  readonly regs: ReturnType<typeof VirtioScsiState.view>;
  readonly io: ReturnType<typeof VirtioScsiIoState.view>;
  readonly changed: ReturnType<typeof ChangedState.view>;
  /** Of no unit. */
  readonly absent: ReturnType<typeof UnitState.view>;
  /** By request queue; written by the io thread. */
  readonly deferred: readonly ReturnType<typeof DeferredHeadsState.view>[];
}

/** @param take makes a block of shared state, or finds it again in another thread */
export function scsiState(
  queues: number,
  take: <const F extends Fields>(layout: Layout<F>) => View<F>,
): ScsiState {
  return {
    regs: take(VirtioScsiState),
    io: take(VirtioScsiIoState),
    changed: take(ChangedState),
    absent: take(UnitState),
    deferred: Array.from({ length: queues }, () => take(DeferredHeadsState)),
  };
}

/** A controller as every thread knows it. */
export interface ScsiController {
  /** Of requests. */
  readonly queues: number;
  /** Descriptors of each queue, a power of two up to QUEUE_SIZE. */
  readonly queueSize: number;
}

/** What the io thread has and vCPU threads do not. */
export interface ScsiIo {
  readonly units: readonly ServedUnit[];
  readonly memory: GuestMemory;
  /** A clock in ms, for throttles. */
  readonly now: () => number;
}

export class VirtioScsi implements VirtioDevice, ScsiSizes {
  readonly deviceId = DEVICE_ID_SCSI;
  readonly featuresLow = SCSI_F_CHANGE;
  readonly featuresHigh = 0;
  readonly queueSizes: readonly number[];
  readonly configSize = CONFIG_BYTES;
  readonly #state: ScsiState;
  readonly #config = new DataView(new ArrayBuffer(VirtioScsiConfig.size));
  readonly #io: { units: ScsiUnits; requests: DiskRequests; control: ScsiControl } | undefined;
  #reportsChanges = false;

  constructor({ queues, queueSize }: ScsiController, state: ScsiState, io?: ScsiIo) {
    this.#state = state;
    this.queueSizes = new Array(FIRST_REQUEST_QUEUE + queues).fill(queueSize);
    const config = VirtioScsiConfig.view(this.#config.buffer, 0);
    config.numQueues = queues;
    config.segMax = Math.max(1, queueSize - NO_SEGMENTS);
    config.maxSectors = MAX_SECTORS;
    config.cmdPerLun = COMMANDS_PER_UNIT;
    config.eventInfoSize = EVENT_INFO_BYTES;
    config.maxTarget = MAX_TARGET;
    config.maxLun = MAX_LUN;
    if (io === undefined) return;
    const { memory, now } = io;
    const units = new ScsiUnits(io.units, state.absent);
    const heads = state.deferred.map((each) => new DeferredHeads(each));
    const commands = new ScsiRequests(units, memory, this, heads, QUEUE_SIZE, now);
    const control = new ScsiControl(units, commands, memory, QUEUE_SIZE);
    this.#io = { units, requests: commands.requests, control };
  }

  get cdbSize(): number {
    return this.#state.regs.cdbSize;
  }

  get senseSize(): number {
    return this.#state.regs.senseSize;
  }

  readConfig(offset: number): number {
    if (offset >= CONFIG_BYTES) return 0;
    this.#config.setUint32(SENSE_SIZE, this.senseSize, true);
    this.#config.setUint32(CDB_SIZE, this.cdbSize, true);
    return this.#config.getUint8(offset);
  }

  /** A legacy driver writes single bytes, of which only the first is not 0. */
  writeConfig(offset: number, _size: AccessSize, value: number): void {
    if (value < 1 || value > MOST_BYTES) return;
    if (offset === SENSE_SIZE) this.#state.regs.senseSize = value;
    if (offset === CDB_SIZE) this.#state.regs.cdbSize = value;
  }

  negotiate(): boolean {
    return true;
  }

  reset(): void {
    const { regs } = this.#state;
    regs.senseSize = SENSE_BYTES;
    regs.cdbSize = CDB_BYTES;
    regs.resets++;
  }

  activate(featuresLow: number): void {
    this.#reportsChanges = (featuresLow & SCSI_F_CHANGE) !== 0;
    const { regs, io, changed } = this.#state;
    if (io.resets === regs.resets) return;
    io.resets = regs.resets;
    changed.units.fill(0);
    for (const { unit } of this.#ioSide.units.units) unit.reset();
  }

  deactivate(): void {}

  run(queue: DeviceQueue, index: number): number {
    const { requests, control } = this.#ioSide;
    if (index === CONTROL_QUEUE) return control.run(queue);
    if (index === EVENT_QUEUE) return this.#reportChanges(queue);
    return requests.run(queue, index - FIRST_REQUEST_QUEUE);
  }

  poll(queues: readonly DeviceQueue[]): void {
    this.#ioSide.requests.poll(queues);
    this.#ioSide.control.finish(queues);
  }

  drain(queues: readonly DeviceQueue[]): void {
    this.#ioSide.control.finish(queues);
    this.#ioSide.requests.drain(queues);
  }

  forget(index: number): void {
    if (index === CONTROL_QUEUE) this.#io?.control.forget();
    if (index >= FIRST_REQUEST_QUEUE) this.#io?.requests.forget(index - FIRST_REQUEST_QUEUE);
  }

  resume(): void {
    this.#ioSide.requests.resume();
  }

  /** The capacity of unit `index` has changed: the event queue is to be served. On the io thread. */
  capacityChanged(index: number): void {
    this.#state.changed.units[index] = 1;
  }

  #reportChanges(queue: DeviceQueue): number {
    const { units } = this.#state.changed;
    if (!this.#reportsChanges) return NEVER;
    for (let index = units.indexOf(1); index >= 0; index = units.indexOf(1)) {
      if (!this.#ioSide.control.reportCapacity(queue, index)) break;
      units[index] = 0;
    }
    return NEVER;
  }

  get #ioSide() {
    if (this.#io === undefined) throw new Error("virtio-scsi: a request on a thread that has no disks");
    return this.#io;
  }
}
