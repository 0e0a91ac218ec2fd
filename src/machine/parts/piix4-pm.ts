/**
 * The power management function of a PIIX4: ACPI's fixed hardware and an SMBus
 * host, at ports that its registers choose.
 *
 * Source: Intel 82371AB (PIIX4) data sheet, 7.1 (PCI configuration registers,
 * function 3) and 7.2 (I/O registers).
 *
 * Not modelled: system management interrupts, devices on the SMBus (a transfer
 * ends with a device error).
 */
import { ByteWide } from "../../bus/byte-wide.ts";
import { LevelLineState } from "../../bus/irq.ts";
import { AcpiPm, AcpiPmState, PM_TMR, PM1_CNT, PM1_EVT } from "../../devices/acpi-pm.ts";
import { SMBUS_PORTS, SmbusHost, SmbusHostState } from "../../devices/smbus-host.ts";
import { SCI } from "../../pci/interrupt-router.ts";
import type { PciPart } from "../pci-part.ts";

export const PMBASE = 0x40;
const DEVACTB = 0x58;
export const PMREGMISC = 0x80;
const SMBBA = 0x90;
const SMBHSTCFG = 0xd2;

const PM_PORTS = 64;
/** SLP_TYP of the soft-off state. */
const PIIX4_SLP_TYP_S5 = 0;

export interface Piix4PmConfig {
  /** The port that firmware is expected to choose; for tables that are made before it runs. */
  readonly port: number;
  readonly sciIrq: number;
  /** Of the machine. */
  readonly serialPorts: number;
}

export const piix4Pm: PciPart<Piix4PmConfig> = {
  kind: "piix4-pm",
  assemble(slot, { serialPorts }) {
    const { power, clock } = slot.ports;
    const { moved } = slot.ports;
    const config = slot.configure({
      vendor: 0x8086,
      device: 0x7113,
      revision: 3,
      classCode: 0x068000,
      interruptPin: 1,
      registers: [
        { at: PMBASE, bytes: [1, 0, 0, 0], writable: [0xc0, 0xff, 0, 0], written: () => moved },
        // APMC_EN is set already: there is no SMM handler to install.
        { at: DEVACTB, bytes: [0, 0, 0, 0x02], writable: [0xff, 0xff, 0xff, 0xff] },
        // Which ISA devices there are: DEVRESC, without a parallel port; DEVRESE; DEVRESG, COM1 and COM2.
        { at: 0x5f, bytes: [0x10], writable: [0xff] },
        { at: 0x63, bytes: [0x60], writable: [0xff] },
        { at: 0x67, bytes: [serialPorts > 1 ? 0x98 : 0x08], writable: [0xff] },
        { at: PMREGMISC, bytes: [0], writable: [0x01], written: () => moved },
        { at: SMBBA, bytes: [1, 0, 0, 0], writable: [0xc0, 0xff, 0, 0], written: () => moved },
        { at: SMBHSTCFG, bytes: [0, 0], writable: [0x0f, 0xff], written: () => moved },
      ],
    });
    const { bytes } = config;
    const port = (at: number) => (bytes[at] | (bytes[at + 1] << 8)) & 0xffc0;
    const window = (at: number, enabled: boolean, length: number) => {
      return enabled && port(at) !== 0 ? { address: port(at), length } : { address: 0, length: 0 };
    };
    const sci = slot.router.source(SCI, slot.take(LevelLineState));
    const pm = new AcpiPm(slot.take(AcpiPmState), sci, power, clock, PIIX4_SLP_TYP_S5);
    slot.addPlaced("ports", pm, () => window(PMBASE, (bytes[PMREGMISC] & 1) !== 0, PM_PORTS));
    const smbus = new ByteWide(new SmbusHost(slot.take(SmbusHostState)));
    slot.addPlaced("ports", smbus, () => window(SMBBA, (bytes[SMBHSTCFG] & 1) !== 0, SMBUS_PORTS));
    return { lock: slot.lock, pressPowerButton: () => pm.pressPowerButton() };
  },
  describe: (_place, { port, sciIrq }) => ({
    pm: {
      eventPort: port + PM1_EVT,
      controlPort: port + PM1_CNT,
      timerPort: port + PM_TMR,
      sciIrq,
      resetPort: 0xcf9,
      resetValue: 0x06,
      sleepTypeS5: PIIX4_SLP_TYP_S5,
    },
  }),
};
