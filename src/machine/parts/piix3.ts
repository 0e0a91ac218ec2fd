/**
 * The ISA bridge of a PIIX3: its registers route the PCI bus's interrupt lines to
 * inputs of the interrupt controllers.
 *
 * Source: Intel 82371SB (PIIX3) data sheet, 2.1.
 */
import { PIRQS } from "../../pci/interrupt-router.ts";
import type { PciPart } from "../pci-part.ts";

const XBCS = 0x4e;
export const PIRQRCA = 0x60;
const ROUTE_DISABLED = 0x80;

export const piix3: PciPart<object> = {
  kind: "piix3",
  assemble(slot) {
    const config = slot.configure({
      vendor: 0x8086,
      device: 0x7000,
      classCode: 0x060100,
      isMultifunction: true,
      registers: [
        { at: 0x4c, bytes: [0x4d], writable: [0xff] },
        { at: XBCS, bytes: [0x03, 0x00], writable: [0xff, 0xff] },
        {
          at: PIRQRCA,
          bytes: Array.from({ length: PIRQS }, () => ROUTE_DISABLED),
          writable: Array.from({ length: PIRQS }, () => 0x8f),
          written() {
            for (let n = 0; n < PIRQS; n++) slot.router.route(n, config.bytes[PIRQRCA + n]);
            return undefined;
          },
        },
        // APIC base, deterministic latency, DMA, SMI, and others: stored.
        { at: 0x69, bytes: [0x02], writable: [0xff] },
        { at: 0x70, bytes: [0x80], writable: [0xff] },
        { at: 0x76, bytes: [0x0c, 0x0c], writable: [0xff, 0xff] },
        { at: 0x78, bytes: [0x02, 0x00], writable: [0xff, 0xff] },
        {
          at: 0xa0,
          bytes: [0x08, 0, 0, 0, 0, 0, 0, 0, 0x0f],
          writable: Array.from({ length: 9 }, () => 0xff),
        },
      ],
    });
    return { lock: slot.lock };
  },
};
