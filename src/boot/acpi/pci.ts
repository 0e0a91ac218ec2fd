/**
 * A PC's PCI bus in the DSDT: its host bridge with the ranges that it passes on,
 * and the routing table, in which each pin of each device has one of four
 * interrupt links. Pin A of the power management function has one of its own, for the SCI.
 *
 * Source: PCI Firmware 3.0, 4.5; ACPI 6.4, 6.2.13 (_PRT).
 *
 * The links say where the firmware has routed the lines; a guest cannot move them.
 */
import { type Aml, device, eisaId, integer, method, name, pack, reference, returns } from "./aml.ts";
import type { PciDescription } from "./description.ts";
import { busNumbers, io, memoryRange, portRange, resourceTemplate, sharedInterrupt } from "./resources.ts";

const DEVICES = 32;
const PINS = 4;
const ALL_FUNCTIONS = 0xffff;
/** The device with the power management function of a PIIX4, and the link of its interrupt. */
const POWER_MANAGEMENT = 1;
const SCI_LINK = "LNKS";
const PRESENT_ENABLED_WORKING = 0x0b;
/** Memory for devices ends at the I/O APIC. */
const MEMORY_LAST = 0xfebf_ffff;
const VGA_FIRST = 0xa_0000;
const VGA_LAST = 0xb_ffff;

export function pciBus({ interrupts, memoryFrom }: PciDescription, sciIrq: number): Aml[] {
  const routes = Array.from({ length: DEVICES * PINS }, (_, n) => {
    const [number, pin] = [Math.floor(n / PINS), n % PINS];
    const line = (number - 1 + pin) & 3;
    return pack(
      integer(number * 0x1_0000 + ALL_FUNCTIONS),
      integer(pin),
      reference(number === POWER_MANAGEMENT && pin === 0 ? SCI_LINK : linkName(line)),
      integer(0),
    );
  }).slice(PINS); // device 0 is the bridge
  const bridge = device(
    "PCI0",
    name("_HID", eisaId("PNP0A03")),
    name("_UID", integer(0)),
    name("_PRT", pack(...routes)),
    name(
      "_CRS",
      resourceTemplate(
        busNumbers(0, 0xff),
        io(0xcf8, 8),
        portRange(0, 0xcf7),
        portRange(0xd00, 0xffff),
        memoryRange(VGA_FIRST, VGA_LAST),
        memoryRange(memoryFrom, MEMORY_LAST),
      ),
    ),
  );
  const links = interrupts.map((interrupt, line) => link(linkName(line), line, interrupt));
  return [...links, link(SCI_LINK, interrupts.length, sciIrq), bridge];
}

function linkName(line: number): string {
  return `LNK${"ABCD"[line]}`;
}

function link(path: string, id: number, interrupt: number): Aml {
  return device(
    path,
    name("_HID", eisaId("PNP0C0F")),
    name("_UID", integer(id)),
    name("_PRS", resourceTemplate(sharedInterrupt(interrupt))),
    name("_CRS", resourceTemplate(sharedInterrupt(interrupt))),
    method("_STA", 0, returns(integer(PRESENT_ENABLED_WORKING))),
    method("_DIS", 0),
    method("_SRS", 1),
  );
}
