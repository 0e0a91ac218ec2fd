/**
 * The PC board: an i440FX host bridge and a PIIX3 with what a PC of 1996 has
 * behind them. Firmware finds the devices by PCI and at their ISA ports.
 */
import { GIB, KIB, MIB, PAGE } from "../../base/units.ts";
import { CMOS_PORTS, type CmosContents } from "../../devices/cmos.ts";
import { FW_CFG_PORTS } from "../../devices/fw-cfg.ts";
import { DMA_PAGES, DMA1, DMA2 } from "../../devices/system-ports.ts";
import type { RamRegion } from "../../memory/guest-memory.ts";
import { CONFIG_PORTS, functionNumber, PciBus } from "../../pci/bus.ts";
import { InterruptRouter } from "../../pci/interrupt-router.ts";
import type { Board } from "../board.ts";
import type { SlotWish } from "../kernel-wishes.ts";
import type { LateParts } from "../late-parts.ts";
import * as map from "../memory-map.ts";
import { type Plug, plug } from "../part.ts";
import { cmosConfig } from "../parts/cmos.ts";
import { flash } from "../parts/flash.ts";
import { fwCfg } from "../parts/fw-cfg.ts";
import { i440fx, PAM0, PIRQ_INPUTS, SHADOW_END } from "../parts/i440fx.ts";
import { pciHost } from "../parts/pci-host.ts";
import { PIRQRCA, piix3 } from "../parts/piix3.ts";
import { diskTranslations, IDE_BOUNCE_BYTES, piix3Ide } from "../parts/piix3-ide.ts";
import { PMBASE, PMREGMISC, piix4Pm } from "../parts/piix4-pm.ts";
import { rtc } from "../parts/rtc.ts";
import { apm, dma, portA } from "../parts/system-ports.ts";
import { virtioBalloon } from "../parts/virtio-balloon.ts";
import { virtioBlk } from "../parts/virtio-blk.ts";
import { virtioPci } from "../parts/virtio-pci.ts";
import { virtioRng } from "../parts/virtio-rng.ts";
import { FIRMWARE, FW_CFG, FW_CFG_BYTES, flashMemory, GENERATION_ID } from "../pc-memories.ts";
import { type PciPart, type PciSegment, plugPci } from "../pci-part.ts";
import { assignPci, writeConfig } from "../pci-setup.ts";
import type { DeviceSpec, MachineSpec } from "../spec.ts";
import { debugPorts, keyboardController, ownDevices, ports, serialPorts } from "./isa-parts.ts";

/** Functions that can be plugged into the bus, besides those that every PC has. */
const FUNCTIONS: Readonly<Record<string, PciPart<object>>> = {
  "virtio-blk": virtioPci(virtioBlk),
  "virtio-rng": virtioPci(virtioRng),
  "virtio-balloon": virtioPci(virtioBalloon),
};

/** Drives of the board's own IDE controller. */
const IDE_DRIVES = ["ide-hd", "ide-cd"];
const IDE: PciPart<object> = piix3Ide;

const I440FX = { device: 0, fn: 0 };
const PIIX3 = { device: 1, fn: 0 };
const PIIX4_PM = { device: 1, fn: 3 };

/** Devices 0 and 1 are the board's own. */
const FIRST_FREE = 2;
const DEVICES = 32;

const HOLE_640K = 640 * KIB;
const VGA_WINDOW_BYTES = 128 * KIB;

const CONFIG_PORT = 0xcf8;
const FW_CFG_PORT = 0x510;
const PORT_A = 0x92;
const APM_PORT = 0xb2;
const RTC_IRQ = 8;

/** Between the I/O APIC and the local APICs, where neither firmware nor a guest places BARs. */
const GENERATION_ID_PAGE = 0xfed8_0000;
/** Where QEMU has it in such a page. */
const GENERATION_ID_OFFSET = 0x28;
/** No line of a PC leads to this input of the I/O APIC. */
const GENERATION_ID_INPUT = 20;
const PM_PORT = 0x600;

/** The kind of a high precision event timer, as in a spec. */
const EVENT_TIMER = "hpet";
/** Interrupts 0 and 8, and inputs that no other device of a PC has. */
const EVENT_TIMER_INPUTS = [2, 8, 16, 17, 18, 19, 21, 22, 23];

export const pc: Board = {
  name: "pc",

  parts(spec, late) {
    const segment: PciSegment = { bus: new PciBus(), router: undefined };
    return [
      plug(pciHost, "pci", { windows: [ports(CONFIG_PORT, CONFIG_PORTS)], gsi: map.SCI_IRQ }, segment),
      plugPci(segment, i440fx, "i440fx", I440FX, {
        ...shadowedFirmware(spec),
        memoryFrom: memoryFrom(spec),
      }),
      plugPci(segment, piix3, "piix3", PIIX3, {}),
      plugPci(segment, piix4Pm, "piix4-pm", PIIX4_PM, {
        port: PM_PORT,
        sciIrq: map.SCI_IRQ,
        serialPorts: spec.serialPorts,
      }),
      ...serialPorts(spec),
      plug(
        rtc,
        "cmos",
        { windows: [ports(map.CMOS_PORT, CMOS_PORTS)], gsi: RTC_IRQ },
        { ...cmosConfig(spec), contents: cmosContents(spec), slew: spec.rtcSlew ?? false },
      ),
      keyboardController(),
      ...flashChips(spec),
      plug(
        fwCfg,
        "fw-cfg",
        { windows: [ports(FW_CFG_PORT, FW_CFG_PORTS)] },
        { hasContents: fwCfgBytes(spec) > 0 },
      ),
      plug(
        dma,
        "dma",
        { windows: [ports(0x00, 16, DMA1), ports(0x81, 15, DMA_PAGES), ports(0xc0, 32, DMA2)] },
        {},
      ),
      plug(portA, "port-a", { windows: [ports(PORT_A, 1)] }, {}),
      plug(apm, "apm", { windows: [ports(APM_PORT, 2)] }, {}),
      ...debugPorts(),
      plugPci(segment, IDE, "piix3-ide", { device: 1, fn: 1 }, ideConfig(spec), {
        windows: [ports(0x1f0, 8, 0x00), ports(0x3f6, 1, 0x08), ports(0x170, 8, 0x10), ports(0x376, 1, 0x18)],
      }),
      ...plugFunctions(
        segment,
        spec.devices.filter(({ kind }) => kind !== EVENT_TIMER && !IDE_DRIVES.includes(kind)),
        late,
      ),
      ...eventTimer(spec, late),
      ...ownDevices(spec),
    ];
  },

  memories(spec) {
    const { firmware } = spec;
    const bytes = fwCfgBytes(spec);
    return {
      ...(firmware === undefined || firmware.size === 0 ? {} : { [FIRMWARE]: firmware.size }),
      ...Object.fromEntries(flashPlaces(spec).map(({ memory, length }) => [memory, length])),
      ...(bytes === 0 ? {} : { [FW_CFG]: bytes }),
      ...(spec.generationId ? { [GENERATION_ID]: PAGE } : {}),
    };
  },

  fixedRam: ({ ram: [low, ...high] }): RamRegion[] =>
    [
      { address: 0, size: HOLE_640K, offset: 0 },
      { address: SHADOW_END, size: low.size - SHADOW_END, offset: SHADOW_END },
      ...high,
    ].filter(({ size }) => size > 0),

  prepare({ ports }) {
    for (const [n, input] of PIRQ_INPUTS.entries())
      writeConfig(ports, functionNumber(PIIX3), PIRQRCA + n, 1, input);
    writeConfig(ports, functionNumber(PIIX4_PM), PMBASE, 2, PM_PORT | 1);
    writeConfig(ports, functionNumber(PIIX4_PM), PMREGMISC, 1, 1);
    // RAM in place of ROM: the tables for the kernel are there.
    for (let n = 0; n <= 6; n++) writeConfig(ports, functionNumber(I440FX), PAM0 + n, 1, 0x33);
    assignPci(ports, { interrupts: PIRQ_INPUTS, lineOf: InterruptRouter.lineOf });
  },

  generationId: {
    address: GENERATION_ID_PAGE + GENERATION_ID_OFFSET,
    irq: GENERATION_ID_INPUT,
    memory: { name: GENERATION_ID, offset: GENERATION_ID_OFFSET },
  },

  kernel({ firmware, generationId }) {
    const slots: SlotWish[] = [];
    if (firmware !== undefined && firmware.size > 0) {
      const { size } = firmware;
      slots.push({ memory: FIRMWARE, offset: 0, address: map.HIGH_RAM - size, size, readOnly: true });
    }
    if (generationId) {
      const page = { address: GENERATION_ID_PAGE, size: PAGE };
      slots.push({ memory: GENERATION_ID, offset: 0, ...page, readOnly: false });
    }
    return { slots };
  },
};

/** What is below 1 MiB until RAM is shown there: the end of the firmware. */
function shadowedFirmware({ firmware }: MachineSpec): { firmware: string; firmwareSize: number } {
  const chip = firmware?.flash?.[0];
  if (chip === undefined) return { firmware: FIRMWARE, firmwareSize: firmware?.size ?? 0 };
  return { firmware: flashMemory(0), firmwareSize: chip.size };
}

function flashPlaces({ firmware }: MachineSpec) {
  let end = map.HIGH_RAM;
  return (firmware?.flash ?? []).map(({ size, readOnly }, n) => {
    end -= size;
    return { memory: flashMemory(n), address: end, length: size, readOnly };
  });
}

function flashChips(spec: MachineSpec): Plug[] {
  return flashPlaces(spec).map(({ memory, address, length, readOnly }) => {
    return plug(flash, memory, { windows: [{ space: "memory", address, length }] }, { memory, readOnly });
  });
}

function eventTimer({ devices }: MachineSpec, late: LateParts | undefined): Plug[] {
  return devices
    .filter(({ kind }) => kind === EVENT_TIMER)
    .map(({ kind, name }) => {
      const type = late?.get(kind);
      if (type === undefined || !("part" in type)) throw new RangeError(`${name}: its part is not loaded`);
      const window = { space: "memory", address: map.HPET_ADDRESS, length: map.HPET_BYTES } as const;
      return plug(type.part, name, { windows: [window] }, { inputs: EVENT_TIMER_INPUTS });
    });
}

function fwCfgBytes({ firmware, userFilesBytes = 0 }: MachineSpec): number {
  return (firmware === undefined ? 0 : FW_CFG_BYTES) + userFilesBytes;
}

/** Memory for devices begins behind RAM, and not below 2 GiB: firmware places BARs there. */
function memoryFrom({ ram: [low] }: MachineSpec): number {
  return Math.max(low.size, 2 * GIB);
}

/**
 * What drives without DMA transfer passes through the RAM behind the VGA window, which no
 * CPU of the guest sees.
 */
function ideConfig({ devices }: MachineSpec): object {
  if (IDE_BOUNCE_BYTES > VGA_WINDOW_BYTES) throw new RangeError("there is no room for what drives transfer");
  return { drives: devices.filter(({ kind }) => IDE_DRIVES.includes(kind)), bounce: HOLE_640K };
}

/** Devices that ask for a place get it, the others the lowest free ones. @throws {RangeError} if there is none */
function plugFunctions(
  segment: PciSegment,
  devices: readonly DeviceSpec[],
  late: LateParts | undefined,
): Plug[] {
  const taken = new Set<number>();
  for (const { place } of devices) if (place?.slot !== undefined) taken.add(place.slot);
  let next = FIRST_FREE;
  return devices.map(({ kind, name, config, place }) => {
    const part = partOf(kind, late);
    if (part === undefined) throw new RangeError(`a PC has no place for a device "${kind}"`);
    while (place?.slot === undefined && taken.has(next)) next++;
    const device = place?.slot ?? next++;
    if (device >= DEVICES) throw new RangeError(`${name}: there is no free place on the PCI bus`);
    return plugPci(segment, part, name, { device, fn: place?.fn ?? 0 }, config);
  });
}

function partOf(kind: string, late: LateParts | undefined): PciPart<object> | undefined {
  const type = late?.get(kind);
  if (type === undefined) return FUNCTIONS[kind];
  if ("pci" in type) return type.pci;
  return "virtio" in type ? virtioPci(type.virtio) : undefined;
}

const BASE_MEMORY_KIB = 640;
const EQUIPMENT_FPU = 0x02;
/** As the nibbles of the boot order have them. */
const BOOT_DEVICES = "acdn";

/**
 * What firmware reads in CMOS: the sizes of memory, CPUs, the boot order.
 *
 * Source: SeaBIOS 1.16, src/hw/rtc.h (names of the bytes).
 */
function cmosContents({ ram: [low, high], cpus, firmware, devices }: MachineSpec): CmosContents {
  const word = (index: number, value: number) => [
    [index, value & 0xff] as const,
    [index + 1, (value >> 8) & 0xff] as const,
  ];
  const extended = Math.min(0xffff, (low.size - MIB) / KIB);
  const above16M = Math.max(0, Math.min(0xffff, (low.size - 16 * MIB) / (64 * KIB)));
  const above4G = (high?.size ?? 0) / (64 * KIB);
  const order = [0, 1, 2].map((n) => BOOT_DEVICES.indexOf(firmware?.bootOrder[n] ?? "-") + 1);
  return [
    ...word(0x15, BASE_MEMORY_KIB),
    ...word(0x17, extended),
    ...word(0x30, extended),
    ...word(0x34, above16M),
    ...word(0x5b, above4G),
    [0x5d, (above4G >> 16) & 0xff],
    [0x14, EQUIPMENT_FPU],
    [0x3d, order[0] | (order[1] << 4)],
    [0x38, order[2] << 4],
    [0x39, diskTranslations(devices)],
    [0x5f, cpus - 1],
  ];
}
