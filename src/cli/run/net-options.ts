/**
 * `-netdev`, `-nic` and `-net`: network cards and what they are connected to.
 *
 * A card is added in three ways, as in QEMU: `-netdev TYPE,id=ID` with
 * `-device virtio-net,netdev=ID`; `-nic TYPE,…` for both at once; and, as old
 * texts have it, `-net nic,…` with `-net TYPE,…`.
 *
 * Source: QEMU 7.2, qemu-options.hx and qapi/net.json.
 */
import { existsSync } from "node:fs";
import { didYouMean } from "../../base/errors.ts";
import { type NetworkOptions, VIRTIO_NET } from "../../config/devices/virtio-net.ts";
import {
  type Keys,
  type KeyValue,
  keyHelp,
  keysOf,
  pickOptions,
  readKeys,
  together,
} from "../../config/keys.ts";
import { type Options, table } from "../../config/schema.ts";
import { flag, integer, type Kind, refused, text, typed } from "../../config/value.ts";
import { type Complain, splitKeyValues, splitKeyValuesOrJson } from "../key-values.ts";
import type { NetdevDraft } from "./network-draft.ts";
import type { HelpGroup } from "./option-row.ts";
import type { Draft } from "./request.ts";
import {
  DGRAM_KEYS,
  datagramSocket,
  HUBPORT_KEYS,
  hubPort,
  SOCKET_KEYS,
  STREAM_KEYS,
  socketNetwork,
  streamSocket,
} from "./socket-net-options.ts";
import { USER_KEYS, userNetwork } from "./user-net-options.ts";

/** What QEMU runs if no other program is named. */
const UP_SCRIPT = "/etc/qemu-ifup";
const DOWN_SCRIPT = "/etc/qemu-ifdown";

/** Numbers that colons separate. */
const descriptors: Kind<readonly number[]> = typed("FD:FD...", (given, refuse) => {
  if (!/^\d{1,9}(:\d{1,9})*$/.test(given)) throw refuse(`"${given}" is not a list as in 3:4`);
  return given.split(":").map(Number);
});

const ID = table({ id: { type: text("ID"), help: "its name, for netdev= of a -device" } });

const VHOST = table({
  vhost: { type: flag, help: "whether the host's kernel moves the frames (default: off)" },
  vhostfd: { type: integer(0, 2 ** 31 - 1, "FD"), help: "with it: an open descriptor of /dev/vhost-net" },
  vhostfds: { type: descriptors, help: "the same, one for each queue pair" },
  vhostforce: { type: flag, help: "a host without vhost-net is an error (default: off)" },
});

const TAP = table({
  ifname: { type: text("NAME"), help: "the interface; it is made if there is none (default: a new one)" },
  fd: { type: integer(0, 2 ** 31 - 1, "FD"), help: "in place of a name: an open descriptor" },
  fds: { type: descriptors, help: "the same, one for each queue pair" },
  queues: { ...VIRTIO_NET.options.queues, help: "queue pairs (default: 1)" },
  script: {
    type: text("FILE|no"),
    help: `a program that sets it up (default: ${UP_SCRIPT}, if it is there)`,
  },
  downscript: {
    type: text("FILE|no"),
    help: `the same at the end (default: ${DOWN_SCRIPT}, if it is there)`,
  },
  vnet_hdr: {
    type: flag,
    help: "whether the guest may leave checksums and segmentation to the host (default: on)",
  },
  sndbuf: { type: VIRTIO_NET.options.sendBuffer.type, help: "bytes that it may queue (default: no limit)" },
  br: { type: text("NAME"), help: "a bridge that it is added to" },
  helper: {
    type: refused("the interface is added to the bridge by vmexit itself, which needs CAP_NET_ADMIN"),
    help: "",
  },
  "poll-us": { type: refused("there is no polling in the kernel"), help: "" },
});

const BRIDGE = table({
  br: { type: text("NAME"), help: "the bridge (default: br0)" },
  helper: TAP.helper,
});

interface Backend {
  readonly type: string;
  readonly help: string;
  readonly keys: Keys<object>;
  options(pairs: readonly KeyValue[], complain: Complain, draft: Draft): NetworkOptions;
}

const TAP_KEYS = together(keysOf(TAP), keysOf(VHOST));
const BRIDGE_KEYS = keysOf(BRIDGE);

const BACKENDS: readonly Backend[] = [
  {
    type: "user",
    help: "a network without privilege, by the host's sockets",
    keys: USER_KEYS,
    options: userNetwork,
  },
  {
    type: "tap",
    help: "a tap interface of the host",
    keys: TAP_KEYS,
    options: (pairs, complain) => {
      const said = readKeys(pairs, TAP_KEYS, complain);
      const { ifname, fd, fds, queues, vnet_hdr: offloads, sndbuf, br } = said;
      const given = fd === undefined ? fds : [fd];
      if (fd !== undefined && fds !== undefined) throw complain("give either fd or fds");
      if (given !== undefined && (ifname !== undefined || br !== undefined)) {
        throw complain("a descriptor is of an interface already: leave out ifname and br");
      }
      if (ifname !== undefined && br !== undefined) throw complain("give either ifname or br");
      const place =
        given !== undefined ? { fds: given } : br !== undefined ? { bridge: br } : { tap: ifname ?? "tap%d" };
      const scripts = given === undefined && br === undefined;
      return {
        ...place,
        queues: queues ?? given?.length ?? 1,
        ...vhostOptions(said, complain),
        ...(offloads === undefined ? {} : { offloads }),
        ...(sndbuf === undefined ? {} : { sendBuffer: sndbuf }),
        ...(scripts ? withScript("upScript", said.script, UP_SCRIPT) : {}),
        ...(scripts ? withScript("downScript", said.downscript, DOWN_SCRIPT) : {}),
      };
    },
  },
  {
    type: "bridge",
    help: "a new tap interface, added to a bridge of the host",
    keys: BRIDGE_KEYS,
    options: (pairs, complain) => ({ bridge: readKeys(pairs, BRIDGE_KEYS, complain).br ?? "br0" }),
  },
  { type: "socket", help: "a cable to another monitor", keys: SOCKET_KEYS, options: socketNetwork },
  {
    type: "stream",
    help: "the same, as newer QEMUs and passt have it",
    keys: STREAM_KEYS,
    options: streamSocket,
  },
  { type: "dgram", help: "the same over UDP", keys: DGRAM_KEYS, options: datagramSocket },
  {
    type: "hubport",
    help: "a hub that connects cards of this machine",
    keys: HUBPORT_KEYS,
    options: (pairs, complain, draft) => hubPort(pairs, complain, draft.hubs),
  },
];

/** As in QEMU, a descriptor or vhostforce=on means vhost=on, unless that is said otherwise. */
function vhostOptions(
  { vhost, vhostfd, vhostfds, vhostforce = false }: Partial<Options<typeof VHOST>>,
  complain: Complain,
): NetworkOptions {
  if (vhostfd !== undefined && vhostfds !== undefined) throw complain("give either vhostfd or vhostfds");
  const given = vhostfd === undefined ? vhostfds : [vhostfd];
  if (!(vhost ?? (given !== undefined || vhostforce))) {
    if (given !== undefined) throw complain("vhostfd is of no use with vhost=off");
    return {};
  }
  return {
    vhost: true,
    ...(given === undefined ? {} : { vhostFds: given }),
    ...(vhostforce ? { vhostForce: true } : {}),
  };
}

export const NETDEV_HELP: readonly HelpGroup[] = [
  ...BACKENDS.map(({ type, help, keys }) => ({ title: `${type}: ${help}`, rows: keyHelp(keys) })),
  { title: "all types:", rows: keyHelp(keysOf(ID)) },
];

/** Types of QEMU's that are not here, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  "vhost-user": "this version has no vhost-user; use tap",
  vde: "there is no VDE; use tap",
  l2tpv3: "there is no L2TPv3; use tap",
};

function withScript(
  option: "upScript" | "downScript",
  given: string | undefined,
  usual: string,
): NetworkOptions {
  if (given === "no" || given === "") return {};
  if (given !== undefined) return { [option]: given };
  return existsSync(usual) ? { [option]: usual } : {};
}

export function addNetdev(draft: Draft, value: string, typed: string, complain: Complain): void {
  draft.saidNetwork = true;
  const pairs = splitKeyValuesOrJson(value, "type", complain);
  const { id, ...netdev } = describe(draft, pairs, typed, complain);
  if (id === undefined) throw complain("the network has no name: id=ID");
  if (draft.netdevs.some((other) => other.id === id)) throw complain(`another -netdev has the id "${id}"`);
  draft.netdevs.push({ ...netdev, id });
}

/** The network of its pairs, of which the first is the type. */
function describe(draft: Draft, pairs: readonly KeyValue[], typed: string, complain: Complain): NetdevDraft {
  const type = pairs.find(({ key }) => key === "type")?.value ?? "";
  const backend = BACKENDS.find((each) => each.type === type);
  if (backend === undefined) {
    const types = BACKENDS.map((each) => each.type);
    const refusal = Object.hasOwn(REFUSED, type) ? REFUSED[type] : undefined;
    throw complain(
      refusal ?? `unknown network "${type}"${didYouMean(type, types)}; it is one of ${types.join(", ")}`,
    );
  }
  const id = pairs.findLast(({ key }) => key === "id")?.value;
  const own = pairs.filter(({ key }) => key !== "type" && key !== "id");
  return { typed, id, options: backend.options(own, complain, draft) };
}

const cardModel = typed("virtio|e1000", (model, refuse) => {
  if (/^virtio(-net)?(-pci|-device)?$/.test(model)) return "virtio" as const;
  if (model === "e1000" || model === "e1000-82540em") return "e1000" as const;
  const isOlder = /^(rtl8139|ne2k_(pci|isa)|pcnet|i8255\w+|usb-net|tulip)$/.test(model);
  const isNewer = /^(e1000e|igb|vmxnet3|e1000-\w+)$/.test(model);
  const use = isOlder ? "model=e1000, on a pc" : "model=virtio, or model=e1000 on a pc";
  throw refuse(
    `"${model}" is not possible: ${isOlder || isNewer ? "this version does not have that card" : "it is not a card of QEMU"}; use ${use}`,
  );
});

/** Keys of a card that -nic and -net nic have. */
const CARD = table({
  model: { type: cardModel, help: "the card (default: e1000 on a pc, virtio on a microvm)" },
  mac: { ...VIRTIO_NET.options.mac, qemu: { option: ["mac", "macaddr"] }, help: "its address" },
  addr: { ...VIRTIO_NET.options.addr, qemu: { option: ["addr"] } },
  vectors: { type: integer(0, 2048), help: "" },
});
const CARD_KEYS = keysOf(CARD);
const CARDS_HELP = "Network cards:\n  virtio  virtio-net\n  e1000   Intel 82540EM, on a pc\n";
const CARD_NAMES = ["model", "mac", "macaddr", "addr", "vectors"];

export const NIC_HELP: HelpGroup = { title: "besides those of -netdev:", rows: keyHelp(CARD_KEYS) };

export function addNic(draft: Draft, value: string, typed: string, complain: Complain): void {
  draft.saidNetwork = true;
  if (value === "none") return;
  const pairs = splitKeyValuesOrJson(value, "type", complain);
  if (/^(model=)?(help|\?)$/.test(value)) {
    draft.print = CARDS_HELP;
    return;
  }
  const card = readKeys(
    pairs.filter(({ key }) => CARD_NAMES.includes(key)),
    CARD_KEYS,
    complain,
  );
  const netdev = describe(
    draft,
    pairs.filter(({ key }) => !CARD_NAMES.includes(key)),
    typed,
    complain,
  );
  draft.cards.push({
    typed,
    netdev: { ...netdev, options: { ...netdev.options } },
    options: pickOptions(VIRTIO_NET.options, card),
  });
}

const DUMP_KEYS = keysOf(
  table({
    id: { type: text("ID"), help: "its name" },
    netdev: {
      type: text("ID"),
      required: "the network is missing: netdev=ID",
      help: "the id of the network (required)",
    },
    file: { type: text("FILE"), required: "the file is missing: file=FILE", help: "the file (required)" },
    maxlen: { ...VIRTIO_NET.options.dumpBytes, help: "bytes of each frame (default: 65536)" },
  }),
);
export const DUMP_HELP: HelpGroup = {
  title: "filter-dump: writes the frames of a network to a file, in the pcap format",
  rows: keyHelp(DUMP_KEYS),
};

/** `-object`: of QEMU's objects, only the one for frames is something here. */
export function addObject(draft: Draft, value: string, typed: string, complain: Complain): void {
  const [type, ...pairs] = splitKeyValuesOrJson(value, "qom-type", complain);
  if (type?.value !== "filter-dump") {
    throw complain(
      "only filter-dump is supported: virtio-rng-device uses the host's random numbers, and -memory-backing selects the memory",
    );
  }
  const { netdev = "", file = "", maxlen } = readKeys(pairs, DUMP_KEYS, complain);
  const options = { dump: file, ...(maxlen === undefined ? {} : { dumpBytes: maxlen }) };
  draft.dumps.push({ typed, netdev, options });
}

/** `-net nic` and `-net TYPE`: one card and one network, which a number that nobody needs now used to connect. */
export function addNet(draft: Draft, value: string, typed: string, complain: Complain): void {
  draft.saidNetwork = true;
  if (value === "none") return;
  const all = splitKeyValues(value, "type");
  if (all.some(({ key }) => key === "vlan")) {
    draft.notes.push(`${typed}: vlan= is ignored: a -net nic and the other -net are connected to each other`);
  }
  const pairs = all.filter(({ key }) => key !== "vlan" && key !== "name");
  if (pairs[0]?.value !== "nic") {
    draft.nets.push(describe(draft, pairs, typed, complain));
    return;
  }
  const netdev = pairs.find(({ key }) => key === "netdev")?.value;
  const own = pairs.filter(({ key }) => key !== "type" && key !== "netdev" && key !== "id");
  const options = pickOptions(VIRTIO_NET.options, readKeys(own, CARD_KEYS, complain));
  if (netdev === undefined) draft.nics.push({ typed, options });
  else draft.cards.push({ typed, netdev, options });
}
