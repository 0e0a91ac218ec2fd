/**
 * MADT: CPUs and interrupt controllers.
 *
 * Source: ACPI 6.4, 5.2.12. KVM's I/O APIC has 24 inputs from global system
 * interrupt 0 on; ISA interrupts are wired to the inputs of their number unless
 * an override says otherwise.
 */
import { concat, u16, u32 } from "./aml.ts";
import type { AcpiDescription } from "./description.ts";
import { table } from "./table.ts";

const PCAT_COMPAT = 1; // there are two 8259s as well: KVM_CREATE_IRQCHIP makes them

// Interrupt controller structure types.
const LOCAL_APIC = 0;
const IO_APIC = 1;
const INTERRUPT_SOURCE_OVERRIDE = 2;
const LOCAL_APIC_NMI = 4;
const LOCAL_X2APIC = 9;
const LOCAL_X2APIC_NMI = 0xa;

const ENABLED = 1;
/** Ids from here on need x2APIC structures; 255 means all CPUs in an APIC structure. */
export const FIRST_X2APIC_ID = 255;

const BUS_ISA = 0;
const CONFORMS_TO_BUS = 0;
const ACTIVE_HIGH_LEVEL = 0b01 | (0b11 << 2);
const PIT_IRQ = 0;
const PIT_GSI = 2; // as kvm/interrupt-routes.ts

const ALL_CPUS_8 = 0xff;
const ALL_CPUS_32 = 0xffff_ffff;
const LINT1 = 1;

export function madt(description: AcpiDescription): Uint8Array {
  const { cpus, localApicAddress, ioapicAddress, pm, pit, pci } = description;
  const structures = [
    ...cpus.map((id) => localApic(id)),
    ioApic(ioapicAddress),
    // An ISA interrupt conforms to its bus: edge, active high. The SCI is a level.
    sourceOverride(pm.sciIrq, pm.sciIrq, ACTIVE_HIGH_LEVEL),
  ];
  for (const irq of new Set(pci?.interrupts)) structures.push(sourceOverride(irq, irq, ACTIVE_HIGH_LEVEL));
  if (pit) structures.push(sourceOverride(PIT_IRQ, PIT_GSI, CONFORMS_TO_BUS));
  structures.push(concat([[LOCAL_APIC_NMI, 6, ALL_CPUS_8], u16(CONFORMS_TO_BUS), [LINT1]]));
  if (cpus.some((id) => id >= FIRST_X2APIC_ID)) {
    const nmi = [[LOCAL_X2APIC_NMI, 12], u16(CONFORMS_TO_BUS), u32(ALL_CPUS_32), [LINT1, 0, 0, 0]];
    structures.push(concat(nmi));
  }
  return table("APIC", 5, concat([u32(localApicAddress), u32(PCAT_COMPAT), ...structures]));
}

/** The ACPI processor UID is the APIC id. */
function localApic(id: number): Uint8Array {
  if (id < FIRST_X2APIC_ID) return concat([[LOCAL_APIC, 8, id, id], u32(ENABLED)]);
  return concat([[LOCAL_X2APIC, 16], u16(0), u32(id), u32(ENABLED), u32(id)]);
}

function ioApic(address: number): Uint8Array {
  const id = 0;
  const gsiBase = 0;
  return concat([[IO_APIC, 12, id, 0], u32(address), u32(gsiBase)]);
}

function sourceOverride(irq: number, gsi: number, flags: number): Uint8Array {
  return concat([[INTERRUPT_SOURCE_OVERRIDE, 10, BUS_ISA, irq], u32(gsi), u16(flags)]);
}
