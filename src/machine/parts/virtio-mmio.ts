/**
 * Puts a virtio device on the virtio-mmio transport: one window, one edge-triggered
 * line, and a doorbell for each queue. Where the board shadows the window, reads of
 * its registers do not exit. The write by which a driver acknowledges used buffers
 * does not exit either, so an interrupt costs no exit.
 */
import type { DiskOrder, DiskReply } from "../../disk/disk-order.ts";
import type { DriveOrder } from "../../images/medium-order.ts";
import type { VirtioDevice } from "../../virtio/device.ts";
import { QueueRunnerState } from "../../virtio/queue/queue-runner.ts";
import { QueueConfigState, QueueCursorState } from "../../virtio/queue/split-queue.ts";
import { VirtioMmio, VirtioMmioState } from "../../virtio/transport/mmio.ts";
import { type VirtioTaskParts, virtioTask } from "../../virtio/virtio-task.ts";
import type { BackEnd } from "../back-ends.ts";
import type { DoorbellWish } from "../kernel-wishes.ts";
import type { Part, Slot } from "../part.ts";

/** A disk from which firmware can start. */
export interface BootUnit {
  /** Its node in the device tree of a PC's firmware, below that of the device. */
  readonly node: string;
  readonly bootindex: number | undefined;
}

/** A virtio device type, independent of its transport. */
export interface VirtioPart<C> {
  /** As in a spec. */
  readonly kind: string;
  /** Its nodes in the device tree of a PC's firmware, if that can start from it: on the bus, and below that. */
  readonly bootNodes?: readonly [onBus: string, unit: string];
  /** The same, if it has several disks. */
  bootUnits?(config: C): readonly BootUnit[];
  unit(slot: Slot, config: C): VirtioUnit;
}

/** A device and its back end, on the io thread. */
export interface VirtioUnit {
  readonly device: VirtioDevice;
  readonly backEnd?: BackEnd | undefined;
  /** What the owner may ask of disks that are inside the device, by their names. */
  readonly orders?: VirtioTaskParts<DiskOrder, DiskReply, DriveOrder>["orders"];
  /** Drives inside the device whose tray is open, by their names. */
  openTrays?(): readonly string[];
}

export function virtioMmio<C>(type: VirtioPart<C>): Part<C> {
  return {
    kind: type.kind,
    assemble(slot, config) {
      const { ports, place, name } = slot;
      const { io } = ports;
      const [{ address, length }] = place.windows;
      const { device, backEnd, orders, openTrays } = type.unit(slot, config);
      const regs = slot.take(VirtioMmioState);
      const configs = device.queueSizes.map(() => slot.take(QueueConfigState));
      const cursors = device.queueSizes.map(() => slot.take(QueueCursorState));
      const state = slot.take(QueueRunnerState);
      const queueBells = slot.bells(configs.length);
      const ackBell = slot.bells(1);
      const page = ports.shadow(address, length);
      const transport: VirtioMmio = new VirtioMmio(device, regs, configs, {
        interrupt: ports.pulse(place.gsi ?? 0),
        notify: ports.notify(name),
        queuesReset: ports.settle(() => transport.config.epoch === state.epoch),
        page,
        acknowledged: page && ports.latch(ackBell),
      });
      const doorbells = transport.doorbells().map(({ offset, ...store }, queue): DoorbellWish => {
        return { bell: queueBells + queue, address: address + offset, ...store };
      });
      if (page !== undefined) {
        const { offset, ...store } = transport.acknowledgement;
        doorbells.push({ bell: ackBell, address: address + offset, ...store });
      }
      const lock = slot.add(transport);
      const task =
        io &&
        virtioTask({
          ...{ name, device, transport, lock, configs, cursors, state, ...backEnd, orders },
          ...{ memory: io.memory, dirty: io.dirty, report: io.report },
          doorbells: configs.map((_, queue) => io.bell(queueBells + queue)),
          acknowledgement: page && transport,
        });
      return {
        lock,
        kernel: () => ({ doorbells }),
        properties: device.properties?.(() => transport.configChanged()) ?? {},
        ...(openTrays === undefined ? {} : { openTrays }),
        ...(task === undefined ? {} : { task, orders: task.orders }),
      };
    },
    describe: ({ windows: [{ address, length }], gsi = 0 }) => ({
      virtioMmio: { address, size: length, irq: gsi },
    }),
  };
}
