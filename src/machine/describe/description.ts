import type { AcpiDescription } from "../../boot/acpi/description.ts";

/** A disk, CD or network card that firmware can boot from. */
export interface BootEntry {
  /** As SeaBIOS names it: "/pci@i0cf8/ide@1,1/drive@0/disk@0". */
  readonly path: string;
  /** Its place in the boot order, if one was asked for. */
  readonly index?: number;
}

/** A part's entries in firmware tables. */
export interface Description {
  readonly serial?: AcpiDescription["serial"][number];
  readonly virtioMmio?: AcpiDescription["virtioMmio"][number];
  readonly pm?: AcpiDescription["pm"];
  readonly pci?: AcpiDescription["pci"];
  /** What firmware can boot from it. */
  readonly boot?: readonly BootEntry[];
  readonly rtc?: AcpiDescription["rtc"];
  readonly fwCfg?: AcpiDescription["fwCfg"];
  readonly hpet?: AcpiDescription["hpet"];
}
