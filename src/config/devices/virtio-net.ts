/**
 * A network card, and what it is connected to. Source: QEMU 7.2, virtio-net-device, e1000
 * and -netdev; names in `qemu` are those of its properties.
 */
import { OptionError } from "../../base/errors.ts";
import type { ConnectNetwork } from "../../net/program-network.ts";
import type { UserNetworkOptions } from "../../net/user/options.ts";
import { device, ID } from "../device-table.ts";
import { type Filled, type Options, type Row, table } from "../schema.ts";
import {
  amount,
  callback,
  each,
  flag,
  integer,
  type Kind,
  object,
  refused,
  text,
  typed,
  words,
} from "../value.ts";
import { DISABLE_LEGACY, DISABLE_MODERN, PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";

const MAX_QUEUES = 16;
const MAX_SEND_BUFFER = 2 ** 31 - 1;
/** QEMU's first one; cards of one machine count on. */
const FIRST_MAC = 0x56;

const mac: Kind<string> = {
  ...text("MAC"),
  manual: 'as in `"52:54:00:12:34:56"`',
  check: (value, refuse) => checkMac(text("MAC").check(value, refuse), refuse),
  parse: checkMac,
};

function checkMac(given: string, refuse: (sentence: string) => Error): string {
  if (!/^[0-9a-f]{1,2}([:-][0-9a-f]{1,2}){5}$/i.test(given)) {
    throw refuse(`"${given}" is not an address as in 52:54:00:12:34:56`);
  }
  const bytes = given.split(/[:-]/).map((byte) => byte.padStart(2, "0").toLowerCase());
  if ((Number.parseInt(bytes[0], 16) & 1) !== 0) {
    throw refuse(`"${given}" is an address of many cards; the first byte has to be even`);
  }
  return bytes.join(":");
}

const OPTIONS = table({
  /** A tap interface of the host, by name; it is made if there is none. */
  tap: { type: text("NAME"), help: "a tap interface of the host, by name; it is made if there is none" },
  /** Open descriptors of a tap interface, one for each queue pair. */
  fds: {
    type: each(integer(0, 2 ** 31 - 1, "FD")),
    help: "open descriptors of a tap interface, one for each queue pair",
  },
  /** A bridge of the host, to which a new tap interface is added. */
  bridge: { type: text("NAME"), help: "a bridge of the host, to which a new tap interface is added" },
  /** A network without privilege, by the host's sockets: its options, or {}. */
  user: {
    type: object<UserNetworkOptions>(),
    help: "a network without privilege, by the host's sockets: its options, or {}",
    see: "user-network.md",
  },
  /** A network that the program provides: it gets each frame, and sends any. */
  connect: {
    type: callback<ConnectNetwork>(),
    help: "a network that the program provides: it gets each frame, and sends any",
    see: "network.md#a-network-of-your-own",
  },
  /**
   * The card; `"e1000"` is an Intel 82540EM, which old systems know and only a pc has. Default: `"virtio"`.
   */
  model: {
    type: words(["virtio", "e1000"]),
    default: "virtio",
    help: 'the card; `"e1000"` is an Intel 82540EM, which old systems know and only a pc has',
  },
  /** The card's address. Default: 52:54:00:12:34:56, and 57, 58 ... for further cards. */
  mac: {
    type: mac,
    otherwise: "52:54:00:12:34:56, and 57, 58 ... for further cards",
    qemu: { device: ["mac"] },
    help: "the card's address",
  },
  /** The MTU that the guest is to use. Default: the guest decides, mostly 1500. */
  mtu: {
    type: integer(68, 65_535),
    otherwise: "the guest decides, mostly 1500",
    qemu: { device: ["host_mtu"] },
    help: "the MTU that the guest is to use",
  },
  /** Queue pairs, so that several CPUs send and receive at once. Default: `1`. */
  queues: {
    type: integer(1, MAX_QUEUES),
    default: 1,
    help: "queue pairs, so that several CPUs send and receive at once",
  },
  /** Whether the guest may leave checksums and segmentation to the host. Default: `true`. */
  offloads: {
    type: flag,
    default: true,
    help: "whether the guest may leave checksums and segmentation to the host",
  },
  /** Bytes that a tap interface may queue. Default: no limit. */
  sendBuffer: {
    type: amount(MAX_SEND_BUFFER, "SIZE"),
    otherwise: "no limit",
    help: "bytes that a tap interface may queue",
  },
  /** Of a tap interface: whether the host's kernel moves the frames (vhost-net). Default: `false`. */
  vhost: {
    type: flag,
    default: false,
    help: "of a tap interface: whether the host's kernel moves the frames (vhost-net)",
    see: "network.md#in-the-kernel",
  },
  /** With vhost: open descriptors of /dev/vhost-net, one for each queue pair. */
  vhostFds: {
    type: each(integer(0, 2 ** 31 - 1, "FD")),
    help: "with vhost: open descriptors of /dev/vhost-net, one for each queue pair",
  },
  /** With vhost: a host without it is an error. Default: `false`. */
  vhostForce: {
    type: flag,
    default: false,
    help: "with vhost: a host without it is an error",
  },
  /** A file that all frames are written to, in the pcap format. */
  dump: {
    type: text("FILE"),
    help: "a file that all frames are written to, in the pcap format",
    see: "network.md#frames-in-a-file",
  },
  /** Bytes of each frame in that file. Default: `65536`. */
  dumpBytes: {
    type: integer(14, 65_536),
    default: 65_536,
    help: "bytes of each frame in that file",
  },
  /** A program that sets up the tap interface; its name is the argument. */
  upScript: {
    type: text("FILE"),
    help: "a program that sets up the tap interface; its name is the argument",
  },
  /** The same, when the machine has ended. */
  downScript: { type: text("FILE"), help: "the same, when the machine has ended" },
  /** Of a pc: the lowest is what firmware starts first; from a network it boots by iPXE. Default: none. */
  bootindex: {
    type: integer(-1, 2 ** 31 - 1),
    otherwise: "none",
    qemu: { device: ["bootindex"] },
    help: "of a pc: the lowest is what firmware starts first; from a network it boots by iPXE",
    see: "network.md#network-boot",
  },
  /** A name that no other device of the machine has. */
  id: ID,
  /** Of a pc: its slot on the PCI bus, in hexadecimal. Default: the next free one. */
  addr: PCI_ADDRESS,
  /** Of a pc: the device has only the legacy interface, which Linux before 4.0 needs. Default: `false`. */
  disableModern: DISABLE_MODERN,
  /** Of a pc: the device has only the interface of VIRTIO 1.0 and later. Default: `false`. */
  disableLegacy: DISABLE_LEGACY,
});

export type NetworkOptions = Options<typeof OPTIONS>;

export interface NetworkConfig extends Filled<typeof OPTIONS> {
  readonly mac: string;
}

const NETDEV = {
  type: text("ID"),
  required: "the network is missing: netdev=ID, the id of a -netdev",
  qemu: { device: ["netdev"] },
  help: "the id of the -netdev",
} as const satisfies Row;

const onOff = (help: string) => ({ type: flag, help });

/** What -device says of a card besides its options. */
export const NET_DEVICE_KEYS = table({
  ...PCI_DEVICE_KEYS,
  netdev: NETDEV,
  mq: {
    ...onOff("accepted: a card has as many queue pairs as its -netdev"),
    qemu: { device: ["mq"] },
  },
  vectors: { type: integer(0, 2048), qemu: { device: ["vectors"] }, help: "accepted; changes nothing" },
  vlan: {
    type: refused("a card is connected by netdev=ID"),
    qemu: { device: ["vlan"] },
    help: "",
  },
  "rx-queue": {
    type: typed("256", (text, refuse) => {
      if (text === "256") return text;
      throw refuse(`"${text}" is not possible: queues have 256 descriptors`);
    }),
    qemu: { device: ["rx_queue_size", "tx_queue_size"] },
    help: "accepted: queues have 256 descriptors",
  },
  "tx-mode": {
    type: words(["bh", "timer"]),
    qemu: { device: ["tx"] },
    help: "accepted; changes nothing",
  },
});

export const VIRTIO_NET = device({
  kind: "virtio-net",
  names: ["virtio-net-device", "virtio-net", "virtio-net-pci"],
  help: "a network card, connected to a -netdev",
  options: OPTIONS,
  deviceKeys: NET_DEVICE_KEYS,
  finish: (card, where, { index }): NetworkConfig => {
    const ways = (["tap", "fds", "bridge", "user", "connect"] as const).filter(
      (way) => card[way] !== undefined,
    );
    if (ways.length > 1) throw new OptionError(`${where}: give either ${ways.join(" or ")}`);
    if (ways.length === 0)
      throw new OptionError(`${where}: it is connected to nothing; give tap, fds, bridge, user or connect`);
    const [way] = ways;
    if ((way === "connect" || way === "user") && card.queues > 1) {
      const what = way === "user" ? "a user network" : "a network of the program's own";
      throw new OptionError(`${where}.queues: ${card.queues} are not possible: ${what} has one`);
    }
    if (card.fds !== undefined && card.fds.length !== card.queues) {
      throw new OptionError(`${where}.fds: ${card.fds.length} descriptors do not make ${card.queues} queues`);
    }
    if (card.tap !== undefined && (card.tap === "" || card.tap.length > 15 || /[/\s]/.test(card.tap))) {
      throw new OptionError(
        `${where}.tap: "${card.tap}" is not the name of an interface (1 to 15 characters)`,
      );
    }
    if (card.model === "e1000") refuseVirtioOptions(card, where);
    checkVhost(card, where);
    const last = (FIRST_MAC + index) & 0xff;
    return { ...card, mac: card.mac ?? `52:54:00:12:34:${last.toString(16).padStart(2, "0")}` };
  },
});

export const E1000_DEVICE_KEYS = table({
  ...PCI_DEVICE_KEYS,
  netdev: NETDEV,
});

/** The card of -device e1000. */
export const E1000 = device({
  kind: "e1000",
  names: ["e1000", "e1000-82540em"],
  help: "of a pc: an Intel 82540EM network card, connected to a -netdev",
  options: table({ mac: OPTIONS.mac, bootindex: OPTIONS.bootindex, id: OPTIONS.id, addr: OPTIONS.addr }),
  deviceKeys: E1000_DEVICE_KEYS,
});

function checkVhost({ vhost, vhostFds, vhostForce, ...card }: Filled<typeof OPTIONS>, where: string): void {
  if (!vhost && (vhostFds !== undefined || vhostForce)) {
    throw new OptionError(`${where}: ${vhostForce ? "vhostForce" : "vhostFds"} is of no use without vhost`);
  }
  if (vhost && (card.connect !== undefined || card.user !== undefined)) {
    throw new OptionError(`${where}.vhost: the kernel moves frames of tap interfaces only`);
  }
  if (vhostFds !== undefined && vhostFds.length !== card.queues) {
    throw new OptionError(
      `${where}.vhostFds: ${vhostFds.length} descriptors do not serve ${card.queues} queue pairs`,
    );
  }
}

function refuseVirtioOptions({ queues, mtu }: Filled<typeof OPTIONS>, where: string): void {
  if (queues > 1) throw new OptionError(`${where}.queues: ${queues} are not possible: an e1000 has one`);
  if (mtu !== undefined) {
    throw new OptionError(`${where}.mtu: an e1000 cannot tell its driver; set it in the guest`);
  }
}

/**
 * @param hasPci of the machine
 * @throws {OptionError} for a card that needs a bus which is not there
 */
export function checkCards(cards: readonly NetworkConfig[], hasPci: boolean): void {
  const n = cards.findIndex(({ model }) => model === "e1000");
  if (n < 0 || hasPci) return;
  throw new OptionError(
    `network[${n}].model: a microvm has virtio cards only; leave this out, or make the machine a pc`,
  );
}

/** The kind of the part that a card is. */
export function cardKind({ model }: NetworkConfig): string {
  return model === "e1000" ? "e1000" : "virtio-net";
}
