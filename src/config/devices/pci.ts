/**
 * Options of every device on a PCI bus: where it is, and which interfaces a virtio
 * device has there.
 *
 * Source: QEMU 11.1, the properties `addr`, `disable-modern` and `disable-legacy`.
 */
import { OptionError } from "../../base/errors.ts";
import type { Row } from "../schema.ts";
import { flag, type Kind, only, quoted, type Refuse } from "../value.ts";

/** A place on PCI bus 0. */
interface PciPlace {
  readonly slot: number;
  readonly fn: number;
}

const SLOTS = 32;

/** Hexadecimal, as everywhere in QEMU and lspci. */
const ADDRESS = /^(?:0x)?([0-9a-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i;

function checkAddress(value: unknown, refuse: Refuse): string {
  if (typeof value === "string" && ADDRESS.test(value) && pciPlace(value).slot < SLOTS) return value;
  throw refuse(`${quoted(value)} is not a place on a PCI bus; give a slot from 0 to 1f, as in 4 or 4.0`);
}

const address: Kind<string> = {
  shown: "SLOT[.FN]",
  manual: 'slot in hexadecimal, as in `"4"` or `"4.0"`',
  check: checkAddress,
  parse: checkAddress,
};

/** @param address a checked one */
export function pciPlace(address: string): PciPlace {
  const [, slot = "", fn = "0"] = ADDRESS.exec(address) ?? [];
  return { slot: Number.parseInt(slot, 16), fn: Number(fn) };
}

/** QEMU's "auto" for a device on a bus of conventional PCI, which this is. */
const offForAuto: Kind<boolean> = {
  ...flag,
  shown: "on|off|auto",
  parse: (word: string, refuse: Refuse) => (word === "auto" ? false : flag.parse(word, refuse)),
};

export const PCI_ADDRESS = {
  type: address,
  otherwise: "the next free one",
  qemu: { device: ["addr"] },
  help: "of a pc: its slot on the PCI bus, in hexadecimal",
} as const satisfies Row;

export const DISABLE_MODERN = {
  type: flag,
  default: false,
  qemu: { device: ["disable-modern"] },
  help: "of a pc: the device has only the legacy interface, which Linux before 4.0 needs",
} as const satisfies Row;

export const DISABLE_LEGACY = {
  type: offForAuto,
  default: false,
  qemu: { device: ["disable-legacy"] },
  help: "of a pc: the device has only the interface of VIRTIO 1.0 and later",
} as const satisfies Row;

/** Keys that -device has: there is one bus. */
export const PCI_DEVICE_KEYS = {
  bus: {
    type: only("pci.0", "the PCI bus of a pc is pci.0"),
    qemu: { device: ["bus"] },
    help: "accepted: pci.0",
  },
} as const;

interface OnPci {
  readonly addr?: string | undefined;
  readonly disableModern?: boolean;
  readonly disableLegacy?: boolean;
}

/**
 * Checks what devices say of their places on the bus.
 *
 * @param configs by the option of `createVm`
 * @throws {OptionError} if the machine has no such bus, or a device no interface
 */
export function checkOnPci(
  configs: Readonly<Record<string, OnPci | readonly OnPci[] | undefined>>,
  hasPci: boolean,
): void {
  for (const [option, config] of Object.entries(configs)) {
    [config ?? []].flat().forEach((device, n) => {
      checkDevice(device, Array.isArray(config) ? `${option}[${n}]` : option, hasPci);
    });
  }
}

function checkDevice({ addr, disableModern, disableLegacy }: OnPci, where: string, hasPci: boolean): void {
  const given = Object.entries({ addr, disableModern, disableLegacy });
  const [name] = given.find(([, value]) => value !== undefined && value !== false) ?? [];
  if (name === undefined) return;
  if (!hasPci) throw new OptionError(`${where}.${name}: a microvm has no PCI bus; leave this out`);
  if (disableModern && disableLegacy) {
    throw new OptionError(`${where}.disableLegacy: with disableModern the device would have no interface`);
  }
}
