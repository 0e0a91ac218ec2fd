/**
 * `-blockdev`: a disk described node by node, as QEMU has it: a format, and
 * under it the file or the NBD export that the image lies in. What comes of it
 * is the same drive that a `-drive` with if=none makes.
 *
 * A node under another is named (`file=NODE`, given before it) or described in
 * place (`file.driver=…,file.filename=…`). A key counts for the whole disk at
 * whichever of its nodes it stands. If two say different things, that counts
 * which QEMU's requests would meet too: read-only=on, discard=ignore, cache.…=on.
 *
 * Source: QEMU 7.2, qemu-options.hx (-blockdev) and qapi/block-core.json
 * (BlockdevOptions).
 */
import { didYouMean } from "../../base/errors.ts";
import { IMAGE_FORMATS, READ_ONLY_FORMATS } from "../../images/formats.ts";
import { isNbdName } from "../../nbd/address.ts";
import type { Complain, KeyRow, KeyValue } from "../key-values.ts";
import { keyLines, onOff, setPairs, splitKeyValues } from "../key-values.ts";
import { DRIVE_DEFAULTS, DRIVE_KEYS, word } from "./drive-keys.ts";
import type { BlockNode, Draft } from "./request.ts";

/** Nodes on top of each other in one -blockdev, and levels of its JSON. */
const MAX_DEPTH = 4;

/** A node whose keys are being set. */
interface NodeDraft {
  readonly options: BlockNode["options"];
  direct: boolean;
  noFlush: boolean;
  nodeName?: string;
  filename?: string;
  /** Name of the node under it. */
  under?: string;
  readonly server: { type?: "inet" | "unix"; host?: string; port?: number; path?: string };
  exportName: string;
}

interface Driver {
  readonly names: readonly string[];
  readonly help: string;
  readonly keys: readonly KeyRow<NodeDraft>[];
  /** It has a node under it. */
  readonly isFormat: boolean;
}

const ANY_KEYS: readonly KeyRow<NodeDraft>[] = [
  {
    name: "node-name",
    values: "NODE",
    help: "its name, for drive= of a -device and for file= of another node",
    set: (node, value) => {
      node.nodeName = value;
    },
  },
  {
    name: "read-only",
    values: "on|off",
    help: "refuse the guest's writes",
    set: (node, value, complain) => {
      node.options.readOnly = onOff("read-only", value, complain);
    },
  },
  {
    name: "auto-read-only",
    values: "on|off",
    help: "accepted; changes nothing",
    set: (_node, value, complain) => void onOff("auto-read-only", value, complain),
  },
  {
    name: "cache.direct",
    values: "on|off",
    help: "data goes past the host's page cache: cache=none of a -drive",
    set: (node, value, complain) => {
      node.direct = onOff("cache.direct", value, complain);
    },
  },
  {
    name: "cache.no-flush",
    values: "on|off",
    help: "the guest's flushes do nothing: cache=unsafe of a -drive",
    set: (node, value, complain) => {
      node.noFlush = onOff("cache.no-flush", value, complain);
    },
  },
  ...asForDrives("discard", "detect-zeroes"),
];

const DRIVERS: readonly Driver[] = [
  {
    names: ["file", "host_device"],
    help: "a file, a block device",
    isFormat: false,
    keys: [
      {
        name: "filename",
        values: "PATH",
        help: "required",
        set: (node, value) => {
          node.filename = value;
        },
      },
      ...asForDrives("aio"),
      {
        name: "locking",
        values: "auto|on",
        help: "accepted; images are always locked",
        set: (_node, value, complain) => {
          if (value === "off") throw complain("locking=off: images are always locked, as QEMU does it");
          word("locking", value, ["auto", "on"], complain);
        },
      },
    ],
  },
  {
    names: ["nbd"],
    help: "an export of an NBD server",
    isFormat: false,
    keys: [
      {
        name: "server.type",
        values: "inet|unix",
        help: "how it is reached; required",
        set: (node, value, complain) => {
          node.server.type = word("server.type", value, ["inet", "unix"], complain);
        },
      },
      {
        name: "server.host",
        values: "HOST",
        help: "of an inet server; required there",
        set: (node, value) => {
          node.server.host = value;
        },
      },
      {
        name: "server.port",
        values: "PORT",
        help: "of an inet server; required there",
        set: (node, value, complain) => {
          const port = /^[0-9]{1,5}$/.test(value) ? Number(value) : 0;
          if (port < 1 || port > 65535)
            throw complain(`server.port="${value}" is not a number from 1 to 65535`);
          node.server.port = port;
        },
      },
      {
        name: "server.path",
        values: "PATH",
        help: "of a unix server's socket; required there",
        set: (node, value) => {
          node.server.path = value;
        },
      },
      {
        name: "export",
        values: "NAME",
        help: "its name at the server (default: none)",
        set: (node, value) => {
          node.exportName = value;
        },
      },
      refused(
        "tls-creds",
        "for TLS write -drive file=nbds://HOST/EXPORT?tls-certificates=FOLDER,if=none,id=…",
      ),
    ],
  },
  {
    names: IMAGE_FORMATS,
    help: `formats; ${READ_ONLY_FORMATS.join(", ")} need read-only=on`,
    isFormat: true,
    keys: [
      {
        name: "file",
        values: "NODE",
        help: "the node under it; or file.driver=…, file.filename=… in its place",
        set: (node, value) => {
          node.under = value;
        },
      },
      ...asForDrives("other-files", "l2-cache-size", "cache-size"),
      refused("backing", "an image stands on the file that it names itself, which cannot be replaced"),
      refused("data-file", "an image's data file is the one that it names itself, which cannot be replaced"),
      refused("offset", "a part of a file cannot be a disk"),
      refused("size", "a part of a file cannot be a disk"),
    ],
  },
];

export const BLOCKDEV_LINES: readonly string[] = [
  ...DRIVERS.flatMap(({ names, help, keys }) => [`${names.join(", ")}: ${help}`, ...keyLines(keys, "    ")]),
  "of all drivers:",
  ...keyLines(ANY_KEYS, "    "),
];

export function addBlockdev(draft: Draft, value: string, typed: string, complain: Complain): void {
  const pairs = value.startsWith("{") ? pairsOfJson(value, complain) : splitKeyValues(value, "driver");
  const node = describe(draft, pairs, typed, complain);
  if (node.id === undefined) throw complain("the node has no name: node-name=NODE");
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
  const said: NodeDraft = { options: {}, direct: false, noFlush: false, server: {}, exportName: "" };
  setPairs(own, [...driver.keys, ...ANY_KEYS], said, complain);
  const lower = driver.isFormat ? nodeUnder(draft, said, under, typed, complain, depth) : undefined;
  const bare = lower === undefined ? storageOf(name, said, complain) : formatted(name, lower, complain);
  const node: BlockNode = { ...withKeys(bare, said, complain), typed };
  delete node.id; // that of the node under it
  if (said.nodeName !== undefined) {
    node.id = said.nodeName;
    draft.nodes.push(node);
  }
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
  { under: name }: NodeDraft,
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
  const node = draft.nodes.find(({ id }) => id === name);
  if (node === undefined) {
    throw complain(`file="${name}": there is no such node; a -blockdev before this one has to describe it`);
  }
  return node;
}

function storageOf(name: string, said: NodeDraft, complain: Complain): BlockNode {
  const common = { typed: "", attach: false, isImage: false, direct: false, noFlush: false };
  if (name === "nbd") {
    return { ...common, storage: "nbd", file: nbdName(said, complain), options: { ...DRIVE_DEFAULTS } };
  }
  const { filename } = said;
  if (filename === undefined) throw complain("the file is missing: filename=PATH");
  // Here it is the name of a file, whatever it looks like.
  const file = isNbdName(filename) ? `./${filename}` : filename;
  return { ...common, storage: "file", file, options: { ...DRIVE_DEFAULTS, format: "raw" } };
}

function nbdName({ server, exportName }: NodeDraft, complain: Complain): string {
  const { type, host, port, path } = server;
  if (type === undefined)
    throw complain("the server is missing: server.type=inet or unix, and its other keys");
  const encoded = (text: string) => {
    if (/\p{Cs}/u.test(text)) throw complain("a name that is no text cannot be sent to a server");
    return encodeURIComponent(text);
  };
  if (type === "unix") {
    if (path === undefined) throw complain("the socket's name is missing: server.path=PATH");
    return `nbd+unix:///${encoded(exportName)}?socket=${encoded(path)}`;
  }
  if (host === undefined || port === undefined) {
    throw complain("the server's place is missing: server.host=HOST,server.port=PORT");
  }
  if (!/^[\w.:-]+$/.test(host)) throw complain(`server.host="${host}" is neither a name nor an address`);
  return `nbd://${host.includes(":") ? `[${host}]` : host}:${port}/${encoded(exportName)}`;
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

function withKeys(lower: BlockNode, said: NodeDraft, complain: Complain): BlockNode {
  const options = { ...lower.options, ...said.options };
  if (lower.options.readOnly === true) options.readOnly = true;
  if (lower.options.discard === "ignore") options.discard = "ignore";
  const direct = lower.direct || said.direct;
  const noFlush = lower.noFlush || said.noFlush;
  if (direct && noFlush) throw complain("cache.direct=on and cache.no-flush=on cannot be had together");
  if (direct || noFlush) options.cache = direct ? "none" : "unsafe";
  return { ...lower, options, direct, noFlush };
}

/** The same disk as JSON: `{"driver": "qcow2", "file": {"driver": "file", …}, …}`. */
function pairsOfJson(text: string, complain: Complain): KeyValue[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw complain(`this is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const pairs: KeyValue[] = [];
  const flatten = (value: unknown, key: string, depth: number): void => {
    if (typeof value === "string") pairs.push({ key, value });
    else if (typeof value === "number") pairs.push({ key, value: String(value) });
    else if (typeof value === "boolean") pairs.push({ key, value: value ? "on" : "off" });
    else if (typeof value !== "object" || value === null || Array.isArray(value))
      throw complain(`"${key}" can be neither null nor a list`);
    else if (depth > MAX_DEPTH) throw complain("too many objects inside each other");
    else {
      const prefix = key === "" ? "" : `${key}.`;
      for (const [name, member] of Object.entries(value)) flatten(member, `${prefix}${name}`, depth + 1);
    }
  };
  flatten(value, "", 0);
  return pairs;
}

/** The rows of -drive with these names, as far as it has them. */
function asForDrives(...names: string[]): KeyRow<Pick<NodeDraft, "options">>[] {
  return DRIVE_KEYS.filter(({ name }) => names.includes(name));
}

/** A key of QEMU's that has no meaning here. */
function refused(name: string, because: string): KeyRow<NodeDraft> {
  return {
    name,
    values: "",
    help: "",
    set: (_node, _value, complain) => {
      throw complain(`${name}: ${because}`);
    },
  };
}
