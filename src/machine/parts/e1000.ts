/**
 * An Intel 82540EM network card. The io thread finds what it is connected to by the
 * part's name.
 *
 * Source: Intel 317453, section 4 (PCI). It has no capabilities, as QEMU's: its interrupt
 * is its pin.
 */
import { DEVICE, E1000, E1000Ports, IO_BYTES, MEMORY_BYTES, VENDOR } from "../../e1000/e1000.ts";
import { E1000Task } from "../../e1000/e1000-task.ts";
import { E1000State } from "../../e1000/registers.ts";
import { NET_FIELDS } from "../../net/card-counters.ts";
import { parseMac } from "../../net/mac.ts";
import type { PciPart } from "../pci-part.ts";

/** The card as every thread knows it. */
export interface E1000Config {
  /** As in 52:54:00:12:34:56. */
  readonly mac: string;
  /** ACCEPTS_ bits that the back end can do. */
  readonly offloads: number;
  readonly bootindex?: number | undefined;
}

const MEMORY_BAR = 0;
const IO_BAR = 1;
const INTA = 1;

export const e1000: PciPart<E1000Config> = {
  kind: "e1000",
  assemble(slot, { mac, offloads }) {
    const { ports, name } = slot;
    const { io } = ports;
    const space = slot.configure({
      vendor: VENDOR,
      device: DEVICE,
      classCode: 0x020000, // Ethernet
      revision: 3,
      interruptPin: INTA,
      bars: [
        { space: "memory", size: MEMORY_BYTES },
        { space: "ports", size: IO_BYTES },
      ],
    });
    const regs = slot.take(E1000State);
    const card = new E1000(parseMac(mac), regs, {
      irq: slot.intx(),
      work: { raise: () => ports.notify(name).notify(0) },
    });
    slot.addBar(MEMORY_BAR, card);
    slot.addBar(IO_BAR, new E1000Ports(card, regs));
    const { lock } = slot;
    const counters = ports.counters(name, NET_FIELDS);
    return {
      lock,
      properties: card.properties(),
      task:
        io &&
        new E1000Task({
          ...{ name, regs, lock, offloads, counters, interrupts: card.interrupts },
          ...{ memory: io.memory, dirty: io.dirty, report: io.report },
          backend: io.network(name).backend,
          mayMaster: () => space.busMaster,
          now: () => performance.now(),
        }),
    };
  },
  describe(_place, { bootindex = -1 }, { device }) {
    const path = `/pci@i0cf8/ethernet@${device.toString(16)}/ethernet-phy@0`;
    return bootindex < 0 ? {} : { boot: [{ path, index: bootindex }] };
  },
};
