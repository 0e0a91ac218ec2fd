/** What ACPI says that a machine has: plain data, made where the machine is assembled. */

export interface AcpiDescription {
  /** The local APIC ids of the CPUs. */
  readonly cpus: readonly number[];
  /** Complete tables that are not made of this description. */
  readonly more?: readonly Uint8Array[];
  readonly ioapicAddress: number;
  readonly localApicAddress: number;
  /** 16550 ports in the order of their numbers; the first is COM1. */
  readonly serial: readonly { readonly port: number; readonly irq: number }[];
  /** Their interrupts are pulses: edge-triggered, not shared. */
  readonly virtioMmio: readonly { readonly address: number; readonly size: number; readonly irq: number }[];
  readonly pm: PowerManagement;
  readonly pci?: PciDescription;
  /** A CMOS clock at ports 0x70 and 0x71. `century`: the register that holds it; `irq` only if the clock has one. */
  readonly rtc?: { readonly century?: number; readonly irq?: number };
  /** A keyboard controller at ports 0x60 and 0x64. Without this, Linux does not probe for one. */
  readonly i8042?: boolean;
  /** A PIT whose output is wired to input 2 of the I/O APIC, as KVM's is. */
  readonly pit?: boolean;
  readonly generationId?: GenerationIdPlace;
  /** A high precision event timer: where its registers are. */
  readonly hpet?: { readonly address: number; readonly size: number };
  /** Ports of a firmware configuration device with contents. */
  readonly fwCfg?: { readonly port: number; readonly ports: number };
}

/** A VM generation ID: a GUID in memory that is another one when the machine is a copy. */
export interface GenerationIdPlace {
  /** Guest-physical address of its 16 bytes; below 4 GiB. */
  readonly address: number;
  /** Input of the I/O APIC that is pulsed when it has changed. */
  readonly irq: number;
}

/** A PCI bus behind a PC's host bridge. */
export interface PciDescription {
  /** The input that firmware routes each of the four interrupt lines to. */
  readonly interrupts: readonly number[];
  /** Where memory for devices begins; it ends at the I/O APIC. */
  readonly memoryFrom: number;
}

/** Fixed hardware, all in I/O ports, in ACPI mode from the start: there is no SMI command port. */
export interface PowerManagement {
  /** PM1a_EVT_BLK, 4 bytes. */
  readonly eventPort: number;
  /** PM1a_CNT_BLK, 2 bytes. */
  readonly controlPort: number;
  /** PM_TMR_BLK, 4 bytes: a 32-bit counter. Linux reads it some hundred times at boot if the FADT has it. */
  readonly timerPort?: number;
  /** Level-triggered, active high. */
  readonly sciIrq: number;
  /** RESET_REG, 1 byte. */
  readonly resetPort: number;
  readonly resetValue: number;
  /** SLP_TYP that turns the machine off. */
  readonly sleepTypeS5: number;
}
