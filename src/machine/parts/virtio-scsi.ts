/** A virtio-scsi controller with its disks and CD drives. The io thread finds the storage of each by its name. */
import { SECTOR } from "../../base/units.ts";
import { DISK_FIELDS } from "../../disk/disk-counters.ts";
import type { DiskReply } from "../../disk/disk-order.ts";
import { HostErrors } from "../../disk/host-errors.ts";
import { Throttle } from "../../disk/throttle.ts";
import type { DriveOrder } from "../../images/medium-order.ts";
import { CdUnit, CdUnitState, isTrayOpen } from "../../scsi/cd-unit.ts";
import { DiskUnit } from "../../scsi/disk-unit.ts";
import { TYPE_CD, TYPE_DISK } from "../../scsi/inquiry.ts";
import { type UnitRegisters, UnitState } from "../../scsi/unit.ts";
import { QUEUE_SIZE, type ScsiController, scsiState, VirtioScsi } from "../../virtio/scsi/scsi.ts";
import { EVENT_QUEUE } from "../../virtio/scsi/scsi-control.ts";
import type { ServedUnit } from "../../virtio/scsi/scsi-units.ts";
import type { DeviceOrders } from "../../virtio/virtio-task.ts";
import type { DiskBackEnd } from "../back-ends.ts";
import type { DriveConfig } from "../drive-config.ts";
import type { DeviceSpec } from "../spec.ts";
import { changeMedium } from "./change-medium.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

interface ScsiDriveConfig extends DriveConfig {
  readonly configWce: boolean;
  /** Of a CD drive: it was open when the machine was reset. */
  readonly trayOpen?: true;
}

/** A drive and its place: unit is the target. */
interface ScsiDriveSpec extends DeviceSpec {
  readonly kind: "scsi-hd" | "scsi-cd";
  readonly config: ScsiDriveConfig;
}

export interface ScsiConfig extends ScsiController {
  readonly drives: readonly ScsiDriveSpec[];
}

export const virtioScsi: VirtioPart<ScsiConfig> = {
  kind: "virtio-scsi",
  unit({ take, ports }, { drives, ...controller }) {
    const state = scsiState(controller.queues, take);
    const { io } = ports;
    const backEnds: DiskBackEnd[] = [];
    const orders = new Map<string, DeviceOrders<DriveOrder, DiskReply>>();
    const cds: { readonly name: string; readonly isOpen: () => boolean }[] = [];
    const units = drives.map(({ kind, name, config, place }, index): ServedUnit | undefined => {
      const counters = ports.counters(name, DISK_FIELDS);
      const regs = take(UnitState);
      const cd = kind === "scsi-cd" ? take(CdUnitState) : undefined;
      if (cd !== undefined) cds.push({ name, isOpen: () => isTrayOpen(cd, config.trayOpen === true) });
      if (io === undefined) return undefined;
      const { rerror, werror, throttling } = config;
      const backEnd = io.disk(name, controller.queues * QUEUE_SIZE);
      const unit = makeUnit(config, regs, cd);
      backEnds.push(backEnd);
      orders.set(name, (order, runner) => {
        if (order.kind === "change-medium") {
          if (!(unit instanceof CdUnit)) throw new TypeError("a disk has no other medium");
          return changeMedium(order, backEnd, unit);
        }
        if (backEnd.order === undefined) throw new TypeError(`${name} takes no orders`);
        return backEnd.order(order, {
          resize(size) {
            if (!(unit instanceof DiskUnit)) return;
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
      openTrays: () => cds.filter(({ isOpen }) => isOpen()).map(({ name }) => name),
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

function makeUnit(
  config: ScsiDriveConfig,
  regs: UnitRegisters,
  cd: ReturnType<typeof CdUnitState.view> | undefined,
): DiskUnit | CdUnit {
  const sectors = config.size / SECTOR;
  return cd === undefined
    ? new DiskUnit({ ...config, type: TYPE_DISK, sectors }, regs)
    : new CdUnit({ ...config, type: TYPE_CD, sectors }, regs, cd);
}

function hex(number = 0): string {
  return number.toString(16);
}
