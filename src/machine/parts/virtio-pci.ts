/**
 * Puts a virtio device on a PCI bus: a function whose modern and legacy interfaces
 * are windows over the same queues, with MSI-X in a BAR of its own. A doorbell for
 * each queue follows the BAR of the interface that the driver uses.
 *
 * A notification does not exit, and a message is sent by the io thread, so a request
 * costs no exit. A driver without MSI-X has two for each interrupt: it reads ISR
 * status, and ends the interrupt at the I/O APIC.
 *
 * Source: VIRTIO 1.2, 4.1.2 (PCI Device Discovery). BARs, offsets and ids are QEMU's.
 */
import type { IrqLine } from "../../bus/io.ts";
import type { BarSpec, FunctionSpec } from "../../pci/config-space.ts";
import { MSIX_BAR_BYTES, MSIX_VECTORS_MAX, Msix, MsixState } from "../../pci/msix.ts";
import type { VirtioDevice } from "../../virtio/device.ts";
import { QueueRunnerState } from "../../virtio/queue/queue-runner.ts";
import { QueueConfigState, QueueCursorState } from "../../virtio/queue/split-queue.ts";
import {
  DEVICE_ID_BALLOON,
  DEVICE_ID_BLOCK,
  DEVICE_ID_ENTROPY,
  DEVICE_ID_NETWORK,
  DEVICE_ID_SCSI,
  DEVICE_ID_SOCKET,
} from "../../virtio/spec.ts";
import { VirtioPci, VirtioPciState } from "../../virtio/transport/pci.ts";
import { modernCapabilities, PciWindowState } from "../../virtio/transport/pci-capabilities.ts";
import {
  PciInterrupts,
  PciInterruptsState,
  PciQueueVectorState,
} from "../../virtio/transport/pci-interrupts.ts";
import { legacyBytes, VirtioPciLegacy } from "../../virtio/transport/pci-legacy.ts";
import { MODERN_BAR_BYTES } from "../../virtio/transport/pci-registers.ts";
import { virtioTask } from "../../virtio/virtio-task.ts";
import type { KernelWishes } from "../kernel-wishes.ts";
import type { PciPart } from "../pci-part.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

/** What a device's configuration may say of its place on the bus. */
export interface OnPci {
  /** The device is a legacy one. */
  readonly disableModern?: boolean;
  /** The device is a modern one. With neither it is transitional: both. */
  readonly disableLegacy?: boolean;
  /** The lowest is what firmware starts first; undefined or -1: no matter. */
  readonly bootindex?: number | undefined;
}

const VIRTIO_VENDOR = 0x1af4;
const MODERN_DEVICE = 0x1040; // plus the type of the device
const MODERN_REVISION = 1;
const MSIX_CAPABILITY = 0x98;

const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const MODERN_BAR = 4;
const INTA = 1;

/** 4.1.2.1, Transitional PCI Device ID, and the class that QEMU gives them. */
const TRANSITIONAL: Readonly<Record<number, { readonly device: number; readonly classCode: number }>> = {
  [DEVICE_ID_NETWORK]: { device: 0x1000, classCode: 0x02_00_00 },
  [DEVICE_ID_BLOCK]: { device: 0x1001, classCode: 0x01_00_00 },
  [DEVICE_ID_BALLOON]: { device: 0x1002, classCode: 0x00_ff_00 },
  [DEVICE_ID_SCSI]: { device: 0x1004, classCode: 0x01_00_00 },
  [DEVICE_ID_SOCKET]: { device: 0x1012, classCode: 0x00_ff_00 },
  [DEVICE_ID_ENTROPY]: { device: 0x1005, classCode: 0x00_ff_00 },
};
const OTHER_CLASS = 0x00_ff_00;

export function virtioPci<C extends object>(type: VirtioPart<C>): PciPart<C & OnPci> {
  return {
    kind: type.kind,
    assemble(slot, config) {
      const { ports, name } = slot;
      const { io } = ports;
      const { device, backEnd, orders, openTrays } = type.unit(slot, config);
      const regs = slot.take(VirtioPciState);
      const configs = device.queueSizes.map(() => slot.take(QueueConfigState));
      const cursors = device.queueSizes.map(() => slot.take(QueueCursorState));
      const vectors = device.queueSizes.map(() => slot.take(PciQueueVectorState));
      const state = slot.take(QueueRunnerState);
      const bells = slot.bells(configs.length);

      let pin: IrqLine | undefined;
      const msix = new Msix(
        slot.take(MsixState),
        Math.min(configs.length + 1, MSIX_VECTORS_MAX),
        ports.messages,
      );
      const interrupts = new PciInterrupts(slot.take(PciInterruptsState), vectors, msix, {
        set: (asserted) => pin?.set(asserted),
      });
      const wiring = {
        interrupts,
        notify: ports.notify(name),
        queuesReset: ports.settle(() => regs.epoch === state.epoch),
        moved: ports.moved,
      };
      const transport = new VirtioPci(device, regs, configs, wiring);
      const legacy = new VirtioPciLegacy(device, transport, regs, configs, wiring);

      const { disableModern = false, disableLegacy = false } = config;
      const window = slot.take(PciWindowState);
      const space = slot.configure({
        ...identity(device, !disableLegacy),
        interruptPin: INTA,
        bars: bars(device, disableModern, disableLegacy),
        capabilities: [
          msix.capability(MSIX_CAPABILITY, MSIX_BAR, () => interrupts.update()),
          ...(disableModern ? [] : modernCapabilities(MODERN_BAR, transport, window)),
        ],
      });
      pin = slot.intx();
      slot.addBar(MSIX_BAR, msix);
      // Also without its window, so that it is reset with the machine.
      if (disableModern) slot.addPlaced("memory", transport, () => NOWHERE);
      else slot.addBar(MODERN_BAR, transport);
      if (!disableLegacy) slot.addBar(LEGACY_BAR, legacy);

      const kernel = (): KernelWishes => {
        const isLegacy = legacy.inUse;
        const { address, length } = space.bar(isLegacy ? LEGACY_BAR : MODERN_BAR);
        if (length === 0) return {};
        const stores = isLegacy ? legacy.doorbells() : transport.doorbells();
        return {
          doorbells: stores.map(({ offset, ...store }, queue) => {
            return { bell: bells + queue, address: address + offset, port: isLegacy, ...store };
          }),
        };
      };
      const { lock } = slot;
      const task =
        io &&
        virtioTask({
          ...{ name, device, transport, lock, configs, cursors, state, ...backEnd, orders },
          ...{ memory: io.memory, dirty: io.dirty, report: io.report },
          doorbells: configs.map((_, queue) => io.bell(bells + queue)),
        });
      return {
        lock,
        kernel,
        properties: device.properties?.(() => transport.configChanged()) ?? {},
        ...(openTrays === undefined ? {} : { openTrays }),
        ...(task === undefined ? {} : { task, orders: task.orders }),
      };
    },
    describe(_place, config, { device, fn }) {
      const [node, unit] = type.bootNodes ?? [];
      const place = `${device.toString(16)}${fn === 0 ? "" : `,${fn}`}`;
      const own = unit === undefined ? [] : [{ node: unit, bootindex: config.bootindex }];
      const units = type.bootUnits?.(config) ?? own;
      return {
        boot: units.map(({ node: unit, bootindex = -1 }) => ({
          path: `/pci@i0cf8/${node ?? "scsi"}@${place}/${unit}`,
          ...(bootindex < 0 ? {} : { index: bootindex }),
        })),
      };
    },
  };
}

const NOWHERE = { address: 0, length: 0 };

/** A transitional device has a legacy one's ids: its type is the subsystem. */
function identity({ deviceId }: VirtioDevice, hasLegacy: boolean): FunctionSpec {
  const transitional = TRANSITIONAL[deviceId];
  const classCode = transitional?.classCode ?? OTHER_CLASS;
  if (hasLegacy && transitional !== undefined) {
    return { vendor: VIRTIO_VENDOR, device: transitional.device, classCode, subsystem: deviceId };
  }
  return {
    vendor: VIRTIO_VENDOR,
    device: MODERN_DEVICE + deviceId,
    classCode,
    revision: MODERN_REVISION,
  };
}

function bars(
  { configSize }: VirtioDevice,
  disableModern: boolean,
  disableLegacy: boolean,
): (BarSpec | undefined)[] {
  const all: (BarSpec | undefined)[] = [];
  all[LEGACY_BAR] = disableLegacy ? undefined : { space: "ports", size: legacyBytes(configSize) };
  all[MSIX_BAR] = { space: "memory", size: MSIX_BAR_BYTES };
  all[MODERN_BAR] = disableModern
    ? undefined
    : { space: "memory", size: MODERN_BAR_BYTES, wide: true, prefetchable: true };
  return Array.from(all);
}
