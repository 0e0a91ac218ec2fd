/** A virtio-scsi controller with its disks. The io thread finds the storage of each by its name. */
import { SECTOR } from "../../base/units.ts";
import { DISK_FIELDS } from "../../disk/disk-counters.ts";
import type { DiskReply } from "../../disk/disk-order.ts";
import { HostErrors } from "../../disk/host-errors.ts";
import { Throttle } from "../../disk/throttle.ts";
import type { DriveOrder } from "../../images/medium-order.ts";
import { DiskUnit } from "../../scsi/disk-unit.ts";
import { TYPE_DISK } from "../../scsi/inquiry.ts";
import { UnitState } from "../../scsi/unit.ts";
import { QUEUE_SIZE, type ScsiController, scsiState, VirtioScsi } from "../../virtio/scsi/scsi.ts";
import { EVENT_QUEUE } from "../../virtio/scsi/scsi-control.ts";
import type { ServedUnit } from "../../virtio/scsi/scsi-units.ts";
import type { DeviceOrders } from "../../virtio/virtio-task.ts";
import type { DiskBackEnd } from "../back-ends.ts";
import type { DriveConfig } from "../drive-config.ts";
import type { DeviceSpec } from "../spec.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

interface ScsiDiskConfig extends DriveConfig {
  readonly configWce: boolean;
}

/** A disk and its place: unit is the target. */
interface ScsiDiskSpec extends DeviceSpec {
  readonly config: ScsiDiskConfig;
}

export interface ScsiConfig extends ScsiController {
  readonly drives: readonly ScsiDiskSpec[];
}

export const virtioScsi: VirtioPart<ScsiConfig> = {
  kind: "virtio-scsi",
  unit({ take, ports }, { drives, ...controller }) {
    const state = scsiState(controller.queues, take);
    const { io } = ports;
    const backEnds: DiskBackEnd[] = [];
    const orders = new Map<string, DeviceOrders<DriveOrder, DiskReply>>();
    const units = drives.map(({ name, config, place }, index): ServedUnit | undefined => {
      const counters = ports.counters(name, DISK_FIELDS);
      const regs = take(UnitState);
      if (io === undefined) return undefined;
      const { rerror, werror, throttling } = config;
      const backEnd = io.disk(name, controller.queues * QUEUE_SIZE);
      const unit = new DiskUnit({ ...config, type: TYPE_DISK, sectors: config.size / SECTOR }, regs);
      backEnds.push(backEnd);
      orders.set(name, (order, runner) => {
        if (order.kind === "change-medium") throw new TypeError("a disk has no other medium");
        if (backEnd.order === undefined) throw new TypeError(`${name} takes no orders`);
        return backEnd.order(order, {
          resize(size) {
            unit.resize(size);
            device.capacityChanged(index);
            runner.serve(EVENT_QUEUE);
          },
        });
      });
      return {
        ...{ target: place?.unit ?? 0, lun: place?.lun ?? 0, unit, backend: backEnd.disk, counters },
        errors: new HostErrors({ name, report: io.report, rerror, werror }),
        throttle: throttling === undefined ? undefined : new Throttle(throttling),
      };
    });
    const ioSide = io && {
      units: units.filter((unit) => unit !== undefined),
      memory: io.memory,
      now: () => performance.now(),
    };
    const device: VirtioScsi = new VirtioScsi(controller, state, ioSide);
    return {
      device,
      orders,
      backEnd: {
        events: backEnds.map(({ disk }) => ({ bell: disk.event })),
        close() {
          for (const { disk } of backEnds) disk.close();
        },
      },
    };
  },
  bootUnits: ({ drives }) =>
    drives.map(({ place, config: { bootindex } }) => ({
      node: `channel@0/disk@${hex(place?.unit)},${hex(place?.lun)}`,
      bootindex,
    })),
};

function hex(number = 0): string {
  return number.toString(16);
}
