/**
 * DSDT: the devices that a guest cannot find by itself.
 *
 * Source: ACPI 6.4, 5.2.11.1 (DSDT), 7.4.2 (\_S5), 6.1 (identification).
 * LNRO0005 is Linux' id for virtio-mmio (drivers/virtio/virtio_mmio.c). 5.6.9
 * (ACPI0013, the generic event device); Microsoft, "Virtual Machine Generation ID"
 * (2012), and QEMU, docs/specs/vmgenid.txt, for its ids and names.
 *
 * Only a machine with PCI describes its processors, for systems that look for them beside the MADT; and no
 * machine a power button device (it is fixed hardware): what is not described is not probed.
 */
import { hexDigits } from "../../base/hex.ts";
import {
  type Aml,
  concat,
  device,
  eisaId,
  integer,
  method,
  name,
  notify,
  pack,
  processor,
  returns,
  scope,
  string,
} from "./aml.ts";
import type { AcpiDescription, GenerationIdPlace } from "./description.ts";
import { FIRST_X2APIC_ID } from "./madt.ts";
import { pciBus } from "./pci.ts";
import { edgeInterrupt, io, irqNoFlags, memory32Fixed, resourceTemplate } from "./resources.ts";
import { table } from "./table.ts";

const SERIAL_PORTS = 8;
const RTC_PORT = 0x70;
const RTC_PORTS = 2;

export function dsdt(description: AcpiDescription): Uint8Array {
  const { cpus, serial, virtioMmio, rtc, i8042, pm, pci, generationId, fwCfg, hpet } = description;
  const devices = [
    ...(pci === undefined ? [] : [...cpus.map(cpu), ...pciBus(pci, pm.sciIrq)]),
    ...serial.map(com),
    ...virtioMmio.map(virtio),
  ];
  if (rtc !== undefined) devices.push(clock(rtc));
  if (i8042) devices.push(keyboard());
  if (generationId !== undefined) devices.push(...generation(generationId));
  if (hpet !== undefined) devices.push(eventTimer(hpet));
  if (fwCfg !== undefined) devices.push(firmwareConfiguration(fwCfg));
  const { sleepTypeS5 } = pm;
  const s5 = name("\\_S5", pack(integer(sleepTypeS5), integer(sleepTypeS5), integer(0), integer(0)));
  return table("DSDT", 2, concat([scope("\\_SB", ...devices), s5]));
}

/** Its id is the APIC's, as in the MADT. */
function cpu(id: number): Aml {
  const path = `C${hexDigits(id, 3).toUpperCase()}`;
  if (id < FIRST_X2APIC_ID) return processor(path, id);
  return device(path, name("_HID", string("ACPI0007")), name("_UID", integer(id)));
}

function com({ port, irq }: { port: number; irq: number }, index: number): Aml {
  return device(
    `COM${index + 1}`,
    name("_HID", eisaId("PNP0501")),
    name("_UID", integer(index + 1)),
    name("_CRS", resourceTemplate(io(port, SERIAL_PORTS), irqNoFlags(irq))),
  );
}

function virtio({ address, size, irq }: { address: number; size: number; irq: number }, index: number): Aml {
  return device(
    `V${hexDigits(index, 3).toUpperCase()}`,
    name("_HID", string("LNRO0005")),
    name("_UID", integer(index)),
    name("_CRS", resourceTemplate(memory32Fixed(address, size), edgeInterrupt(irq))),
  );
}

function clock({ irq }: { irq?: number }): Aml {
  const interrupt = irq === undefined ? [] : [irqNoFlags(irq)];
  return device(
    "RTC",
    name("_HID", eisaId("PNP0B00")),
    name("_CRS", resourceTemplate(io(RTC_PORT, RTC_PORTS), ...interrupt)),
  );
}

function keyboard(): Aml {
  return device(
    "KBD",
    name("_HID", eisaId("PNP0303")),
    name("_CRS", resourceTemplate(io(0x60, 1), io(0x64, 1), irqNoFlags(1))),
  );
}

function eventTimer({ address, size }: { address: number; size: number }): Aml {
  return device(
    "HPET",
    name("_HID", eisaId("PNP0103")),
    name("_UID", integer(0)),
    name("_CRS", resourceTemplate(memory32Fixed(address, size))),
  );
}

/** Linux' qemu_fw_cfg finds it by this. */
function firmwareConfiguration({ port, ports }: { port: number; ports: number }): Aml {
  return device("FWCF", name("_HID", string("QEMU0002")), name("_CRS", resourceTemplate(io(port, ports))));
}

const GENERATION_ID = "VGEN";
/** Of a notification: the ID has changed. */
const CHANGED = 0x80;

/** The device, and the one whose interrupt notifies its driver. */
function generation({ address, irq }: GenerationIdPlace): Aml[] {
  return [
    device(
      GENERATION_ID,
      name("_HID", string("QEMUVGID")),
      name("_CID", string("VM_Gen_Counter")),
      name("_DDN", string("VM_Gen_Counter")),
      method("ADDR", 0, returns(pack(integer(address), integer(0)))),
    ),
    device(
      "GED",
      name("_HID", string("ACPI0013")),
      name("_UID", integer(0)),
      name("_CRS", resourceTemplate(edgeInterrupt(irq))),
      method("_EVT", 1, notify(`\\_SB.${GENERATION_ID}`, CHANGED)),
    ),
  ];
}
