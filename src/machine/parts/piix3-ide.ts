/**
 * The IDE function of a PIIX3, with its drives. Each drive has storage, counters and
 * orders of its own, by its name.
 *
 * Source: Intel 82371SB (PIIX3) data sheet, 2.2 (configuration) and 2.5 (ports).
 */
import type { Lock } from "../../base/lock.ts";
import { SECTOR } from "../../base/units.ts";
import { ByteWide } from "../../bus/byte-wide.ts";
import { DISK_FIELDS } from "../../disk/disk-counters.ts";
import type { DiskReply } from "../../disk/disk-order.ts";
import { Throttle } from "../../disk/throttle.ts";
import { AtaDisk } from "../../ide/ata-disk.ts";
import { AtapiCd } from "../../ide/atapi-cd.ts";
import { Channel, ChannelState } from "../../ide/channel.ts";
import type { Drive, DriveWires } from "../../ide/drive.ts";
import { DRIVE_TAGS, DriveRequests } from "../../ide/drive-requests.ts";
import { BUFFER_BYTES, DriveState } from "../../ide/drive-state.ts";
import { IdeTask } from "../../ide/ide-task.ts";
import { geometryOf } from "../../ide/identify.ts";
import { BusMaster, PiixIde } from "../../ide/piix-ide.ts";
import type { DriveOrder } from "../../images/medium-order.ts";
import type { DiskBackEnd } from "../back-ends.ts";
import type { DriveConfig } from "../drive-config.ts";
import type { PciPart } from "../pci-part.ts";
import type { DeviceSpec } from "../spec.ts";
import { changeMedium } from "./change-medium.ts";

export interface IdeDriveConfig extends DriveConfig {
  readonly chsTranslation: "auto" | "none" | "lba" | "large" | "rechs";
  /** Of a CD drive: it was open when the machine was reset. */
  readonly trayOpen?: true;
}

/** A drive and its place: bus "ide.0" or "ide.1", unit 0 or 1. */
export interface IdeDriveSpec extends DeviceSpec {
  readonly config: IdeDriveConfig;
}

export interface IdeConfig {
  readonly drives: readonly IdeDriveSpec[];
  /** RAM offset of IDE_BOUNCE_BYTES that no CPU of the guest sees. */
  readonly bounce: number;
}

const CHANNELS = [
  { bus: "ide.0", irq: 14 },
  { bus: "ide.1", irq: 15 },
] as const;
export const IDE_BOUNCE_BYTES = 4 * BUFFER_BYTES;

const IDETIM = 0x40;
/** The channel's ports are decoded. Firmware sets it too; a kernel that is started without firmware does not. */
const DECODE_ENABLED = 0x80;
const BUS_MASTER_BAR = 4;
const BUS_MASTER_PORTS = 16;

export const piix3Ide: PciPart<IdeConfig> = {
  kind: "piix3-ide",
  assemble(slot, { drives, bounce }) {
    const { ports, name } = slot;
    const { io } = ports;
    const config = slot.configure({
      vendor: 0x8086,
      device: 0x7010,
      classCode: 0x010180, // at the old places, with a bus master
      bars: [undefined, undefined, undefined, undefined, { space: "ports", size: BUS_MASTER_PORTS }],
      registers: [
        { at: IDETIM, bytes: [0, DECODE_ENABLED, 0, DECODE_ENABLED], writable: [0xff, 0xff, 0xff, 0xff] },
        { at: 0x44, bytes: [0], writable: [0xff] },
      ],
    });
    const { lock } = slot;
    const requests: DriveRequests[] = [];
    const backEnds: DiskBackEnd[] = [];
    const cds: { readonly drive: Drive; readonly spec: IdeDriveSpec }[] = [];
    const orders = new Map<string, (order: DriveOrder) => DiskReply>();
    const channels = CHANNELS.map(({ bus, irq }, number) => {
      const found: { drive: Drive; spec: IdeDriveSpec; unit: number }[] = [];
      const channel = new Channel(
        slot.take(ChannelState),
        {
          line: slot.line(irq),
          work: { raise: () => ports.notify(name).notify(0) },
          settle: (settled) => ports.settle(settled),
        },
        (unit, wires) => {
          const spec = drives.find(({ place }) => place?.bus === bus && place.unit === unit);
          if (spec === undefined) return undefined;
          const drive = makeDrive(spec, slot.take(DriveState), wires);
          found.push({ drive, spec, unit });
          return drive;
        },
      );
      cds.push(...found.filter(({ spec }) => spec.kind === "ide-cd"));
      for (const { drive, spec, unit } of found) {
        const counters = ports.counters(spec.name, DISK_FIELDS);
        if (io === undefined) continue;
        const backEnd = io.disk(spec.name, DRIVE_TAGS);
        const { rerror, werror, throttling } = spec.config;
        const { memory, dirty, report } = io;
        backEnds.push(backEnd);
        const served = new DriveRequests({
          ...{ name: spec.name, drive, channel, lock, memory, dirty, report, counters, rerror, werror },
          backend: backEnd.disk,
          bounce: bounce + (2 * number + unit) * BUFFER_BYTES,
          throttle: throttling === undefined ? undefined : new Throttle(throttling),
          now: () => performance.now(),
          mayMaster: () => config.busMaster,
        });
        requests.push(served);
        orders.set(spec.name, (order) => carryOut(order, backEnd, served));
      }
      return channel;
    });
    const chip = new PiixIde(channels);
    slot.add(chip, lock);
    slot.addBar(BUS_MASTER_BAR, new ByteWide(new BusMaster(channels)));
    return {
      lock,
      orders,
      openTrays: () => cds.filter(({ drive }) => drive.regs.trayOpen !== 0).map(({ spec }) => spec.name),
      task:
        io &&
        new IdeTask({
          ...{ name, lock, channels, drives: requests },
          bells: backEnds.map(({ disk }) => disk.event),
          close() {
            for (const { disk } of backEnds) disk.close();
          },
        }),
    };
  },
  describe: (_place, { drives }) => ({
    boot: drives.map(({ place, config: { bootindex } }) => ({
      path: `/pci@i0cf8/ide@1,1/drive@${place?.bus === CHANNELS[1].bus ? 1 : 0}/disk@${place?.unit ?? 0}`,
      ...(bootindex === undefined || bootindex < 0 ? {} : { index: bootindex }),
    })),
  }),
};

/** Where SeaBIOS has numbers for translations, from none on: src/hw/ata.c, CMOS_BIOS_DISKTRANSFLAG. */
const TRANSLATIONS = ["none", "lba", "large", "rechs"];
const BIOS_CYLINDERS = 1024;

/** CMOS register 0x39: two bits for each disk, how firmware translates its cylinders, heads and sectors. */
export function diskTranslations(devices: readonly DeviceSpec[]): number {
  let bits = 0;
  for (const { config, place } of devices.filter(isDisk)) {
    const { cylinders } = geometryOf(config.size / SECTOR);
    const auto = cylinders <= BIOS_CYLINDERS ? "none" : "lba";
    const chosen = config.chsTranslation === "auto" ? auto : config.chsTranslation;
    const drive = 2 * CHANNELS.findIndex(({ bus }) => bus === place?.bus) + (place?.unit ?? 0);
    bits |= TRANSLATIONS.indexOf(chosen) << (2 * drive);
  }
  return bits;
}

function isDisk(device: DeviceSpec): device is IdeDriveSpec {
  return device.kind === "ide-hd";
}

function makeDrive(
  { kind, config }: IdeDriveSpec,
  state: ReturnType<typeof DriveState.view>,
  wires: DriveWires,
): Drive {
  const facts = { ...config, sectors: config.size / SECTOR };
  return kind === "ide-cd" ? new AtapiCd(facts, state, wires) : new AtaDisk(facts, state, wires);
}

function carryOut(order: DriveOrder, backEnd: DiskBackEnd, requests: DriveRequests): DiskReply {
  const { drive, lock } = requests.io;
  if (order.kind === "change-medium") {
    if (!(drive instanceof AtapiCd)) throw new TypeError("a disk has no other medium");
    requests.drain();
    return changeMedium(order, backEnd, {
      eject: (force) => withLock(lock, () => drive.eject(force)),
      insert: (bytes) => withLock(lock, () => drive.insert(bytes / SECTOR)),
    });
  }
  if (backEnd.order === undefined) throw new TypeError("this storage takes no orders");
  return backEnd.order(order, {
    resize(size) {
      withLock(lock, () => {
        drive.regs.mediaSectors = size / SECTOR;
      });
    },
  });
}

function withLock<T>(lock: Lock, work: () => T): T {
  lock.acquire();
  try {
    return work();
  } finally {
    lock.release();
  }
}
