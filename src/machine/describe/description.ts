import type { AcpiDescription } from "../../boot/acpi/description.ts";

/** A part's entries in firmware tables. */
export interface Description {
  readonly serial?: AcpiDescription["serial"][number];
  readonly virtioMmio?: AcpiDescription["virtioMmio"][number];
  readonly pm?: AcpiDescription["pm"];
  readonly rtc?: AcpiDescription["rtc"];
}
