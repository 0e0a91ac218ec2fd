/**
 * `-blockdev`: a disk described node by node, as in QEMU: a format, and under it
 * the file or the NBD export that contains the image. The result is a drive like
 * that of a `-drive` with if=none.
 *
 * A node under another has a name (`file=NODE`, described before it) or is described
 * in place (`file.driver=…,file.filename=…`). A key of any node applies to the whole
 * disk. The stricter of two values wins, as in QEMU: read-only=on, discard=ignore,
 * cache.…=on.
 *
 * Source: QEMU 7.2, qemu-options.hx (-blockdev) and qapi/block-core.json
 * (BlockdevOptions).
 */
import { didYouMean } from "../../base/errors.ts";
import { type DriveOptions, VIRTIO_BLK } from "../../config/devices/virtio-blk.ts";
import {
  commandDefaults,
  type Keys,
  type KeyValue,
  keyHelp,
  keysOf,
  pickOptions,
  readKeys,
  together,
} from "../../config/keys.ts";
import { type Options, table } from "../../config/schema.ts";
import { flag, integer, refused, text, typed, words } from "../../config/value.ts";
import { nameOfFile } from "../../images/file-name.ts";
import { IMAGE_FORMATS, READ_ONLY_FORMATS } from "../../images/formats.ts";
import { type Complain, splitKeyValuesOrJson } from "../key-values.ts";
import type { HelpGroup } from "./option-row.ts";
import type { BlockNode, Draft } from "./request.ts";

/** Nodes on top of each other in one -blockdev. */
const MAX_DEPTH = 4;

const NODE = table({
  "node-name": {
    type: text("NODE"),
    help: "its name, for drive= of a -device and for file= of another node",
  },
  "auto-read-only": { type: flag, help: "accepted; changes nothing" },
  "cache.direct": { type: flag, help: "data bypasses the host's page cache: cache=none of a -drive" },
  "cache.no-flush": { type: flag, help: "the guest's flushes do nothing: cache=unsafe of a -drive" },
});

const FILE = table({
  filename: { type: text("PATH"), help: "the file or device (required)" },
  locking: {
    type: typed("auto|on", (text, refuse) => {
      if (text === "auto" || text === "on") return text;
      throw refuse(`"${text}" is not possible: images are always locked, as in QEMU`);
    }),
    help: "accepted: images are always locked",
  },
});

const NBD = table({
  "server.type": { type: words(["inet", "unix"]), help: "how the server is reached (required)" },
  "server.host": { type: text("HOST"), help: "of an inet server (required there)" },
  "server.port": { type: integer(1, 65535, "PORT"), help: "of an inet server (required there)" },
  "server.path": { type: text("PATH"), help: "of a unix server's socket (required there)" },
  export: { type: text("NAME"), help: "its name on the server (default: the empty name)" },
  "tls-creds": {
    type: refused("for TLS write -drive file=nbds://HOST/EXPORT?tls-certificates=FOLDER,if=none,id=…"),
    help: "",
  },
});

const NO_PART = refused("a part of a file cannot be a disk");
const FORMAT = table({
  under: {
    type: text("NODE"),
    qemu: { option: ["file"] },
    help: "the node under it; or write file.driver=…,file.filename=… instead",
  },
  backing: {
    type: refused("an image's backing file is the one that it names itself, which cannot be replaced"),
    help: "",
  },
  "data-file": {
    type: refused("an image's data file is the one that it names itself, which cannot be replaced"),
    help: "",
  },
  offset: { type: NO_PART, help: "" },
  size: { type: NO_PART, help: "" },
});

/** What the keys of one node said, whatever its driver. */
type Said = Partial<
  DriveOptions & Options<typeof NODE> & Options<typeof FILE> & Options<typeof NBD> & Options<typeof FORMAT>
>;

interface Driver {
  readonly names: readonly string[];
  readonly help: string;
  readonly keys: Keys<Said>;
  /** It has a node under it. */
  readonly isFormat: boolean;
}

const DRIVERS: readonly Driver[] = [
  {
    names: ["file", "host_device"],
    help: "a file, a block device",
    isFormat: false,
    keys: together(keysOf(FILE), keysOf(VIRTIO_BLK.options, "file")),
  },
  { names: ["nbd"], help: "an export of an NBD server", isFormat: false, keys: keysOf(NBD) },
  {
    names: IMAGE_FORMATS,
    help: `formats; ${READ_ONLY_FORMATS.join(", ")} need read-only=on`,
    isFormat: true,
    keys: together(keysOf(FORMAT), keysOf(VIRTIO_BLK.options, "format")),
  },
];

const ANY_KEYS = together(keysOf(NODE), keysOf(VIRTIO_BLK.options, "node"));

export const BLOCKDEV_HELP: readonly HelpGroup[] = [
  ...DRIVERS.map(({ names, help, keys }) => ({ title: `${names.join(", ")}: ${help}`, rows: keyHelp(keys) })),
  { title: "all drivers:", rows: keyHelp(ANY_KEYS) },
];

export function addBlockdev(draft: Draft, value: string, typed: string, complain: Complain): void {
  const pairs = splitKeyValuesOrJson(value, "driver", complain);
  const node = describe(draft, pairs, typed, complain);
  if (node.options.id === undefined) throw complain("the node has no name: node-name=NODE");
}

/** Makes a node of its pairs, after those that are described under it. */
function describe(
  draft: Draft,
  pairs: readonly KeyValue[],
  typed: string,
  complain: Complain,
  depth = 0,
): BlockNode {
  if (depth === MAX_DEPTH) throw complain(`more than ${MAX_DEPTH} nodes on top of each other`);
  const name = pairs.findLast(({ key }) => key === "driver")?.value ?? "";
  const driver = driverOf(name, complain);
  const under: KeyValue[] = [];
  const own: KeyValue[] = [];
  for (const pair of pairs) {
    if (pair.key === "driver") continue;
    const [first] = pair.key.split(".", 1);
    if (!driver.isFormat) own.push(pair);
    else if (pair.key.startsWith("file.")) under.push({ ...pair, key: pair.key.slice("file.".length) });
    else own.push(first === "backing" || first === "data-file" ? { ...pair, key: first } : pair);
  }
  const said = readKeys(own, together(driver.keys, ANY_KEYS), complain);
  const lower = driver.isFormat ? nodeUnder(draft, said.under, under, typed, complain, depth) : undefined;
  const bare = lower === undefined ? storageOf(name, said, complain) : formatted(name, lower, complain);
  // Its name is its own: not that of the node under it.
  const node = { ...withKeys(bare, said, complain), typed };
  if (said["node-name"] !== undefined) draft.nodes.push(node);
  return node;
}

function driverOf(name: string, complain: Complain): Driver {
  const driver = DRIVERS.find(({ names }) => names.includes(name));
  if (driver !== undefined) return driver;
  const names = DRIVERS.flatMap((driver) => driver.names);
  if (name === "") throw complain(`the driver is missing: driver=NAME, one of ${names.join(", ")}`);
  if (name === "throttle") {
    throw complain('there is no driver "throttle"; give the limits to a -drive with if=none: throttling.…');
  }
  throw complain(`unknown driver "${name}"${didYouMean(name, names)}; it is one of ${names.join(", ")}`);
}

function nodeUnder(
  draft: Draft,
  name: string | undefined,
  pairs: readonly KeyValue[],
  typed: string,
  complain: Complain,
  depth: number,
): BlockNode {
  if (pairs.length > 0) {
    if (name !== undefined) throw complain("give either file=NODE or file.driver=… and its other keys");
    return describe(draft, pairs, typed, (sentence) => complain(`file: ${sentence}`), depth + 1);
  }
  if (name === undefined) {
    throw complain("the node under it is missing: file=NODE, or file.driver=file,file.filename=PATH");
  }
  const node = draft.nodes.find(({ options }) => options.id === name);
  if (node === undefined) {
    throw complain(`file="${name}": there is no such node; a -blockdev before this one has to describe it`);
  }
  return node;
}

function storageOf(name: string, said: Said, complain: Complain): BlockNode {
  const common = { typed: "", attach: false, isImage: false, direct: false, noFlush: false };
  const defaults = commandDefaults(VIRTIO_BLK.options);
  if (name === "nbd") {
    return { ...common, storage: "nbd", options: { ...defaults, file: nbdName(said, complain) } };
  }
  const { filename } = said;
  if (filename === undefined) throw complain("the file is missing: filename=PATH");
  // This is always the name of a file, even if it looks like the name of an NBD export.
  const file = nameOfFile(filename);
  return { ...common, storage: "file", options: { ...defaults, file, format: "raw" } };
}

function nbdName(said: Said, complain: Complain): string {
  const { "server.type": type, "server.host": host, "server.port": port, "server.path": path } = said;
  if (type === undefined) {
    throw complain("the server is missing: server.type=inet or unix, and its other keys");
  }
  const encoded = (text: string) => {
    if (/\p{Cs}/u.test(text)) throw complain("a name that is not text cannot be sent to a server");
    return encodeURIComponent(text);
  };
  const name = encoded(said.export ?? "");
  if (type === "unix") {
    if (path === undefined) throw complain("the socket's name is missing: server.path=PATH");
    return `nbd+unix:///${name}?socket=${encoded(path)}`;
  }
  if (host === undefined || port === undefined) {
    throw complain("the server's place is missing: server.host=HOST,server.port=PORT");
  }
  if (!/^[\w.:-]+$/.test(host)) throw complain(`server.host="${host}" is neither a name nor an address`);
  return `nbd://${host.includes(":") ? `[${host}]` : host}:${port}/${name}`;
}

/** `lower`, seen as an image of a format. */
function formatted(name: string, lower: BlockNode, complain: Complain): BlockNode {
  const format = IMAGE_FORMATS.find((each) => each === name);
  if (format === undefined || format === "raw") return lower;
  if (lower.isImage) throw complain(`the node under it is an image already; ${name} needs the file's bytes`);
  if (lower.storage === "nbd") {
    throw complain(
      `an image behind an NBD server is opened by the server (vmexit img serve -f ${name}); its export is raw`,
    );
  }
  return { ...lower, isImage: true, options: { ...lower.options, format } };
}

/** `lower` with the keys of a node above it, under that node's name. */
function withKeys(lower: BlockNode, said: Said, complain: Complain): BlockNode {
  const { id: _, ...below } = lower.options;
  const { "node-name": name, "cache.direct": direct = false, "cache.no-flush": noFlush = false } = said;
  const isDirect = lower.direct || direct;
  const isNoFlush = lower.noFlush || noFlush;
  if (isDirect && isNoFlush) throw complain("cache.direct=on and cache.no-flush=on contradict each other");
  const options = {
    ...below,
    ...pickOptions(VIRTIO_BLK.options, said),
    ...(below.readOnly === true && { readOnly: true }),
    ...(below.discard === "ignore" && { discard: "ignore" as const }),
    ...(isDirect && { cache: "none" as const }),
    ...(isNoFlush && { cache: "unsafe" as const }),
    ...(name !== undefined && { id: name }),
  };
  return { ...lower, options, direct: isDirect, noFlush: isNoFlush };
}
