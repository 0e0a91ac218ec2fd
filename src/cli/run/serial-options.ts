/**
 * `-serial`, `-debugcon` and `-chardev`: what the serial ports and the debug console are connected to.
 *
 * Source: QEMU 11.1, qemu-options.hx (-serial, -debugcon, -chardev).
 */
import { didYouMean } from "../../base/errors.ts";
import { ID } from "../../config/device-table.ts";
import { ISA_DEBUGCON_KEYS, ISA_SERIAL_KEYS, SERIAL_IRQS } from "../../config/devices/isa-ports.ts";
import { type Keys, type KeyValue, keyHelp, keysOf, readKeys, together } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { flag, integer, only, refused, text } from "../../config/value.ts";
import { type Complain, splitKeyValues } from "../key-values.ts";
import type { HelpGroup, OptionRow } from "./option-row.ts";
import type { Draft } from "./request.ts";
import { type Chardev, MAX_SERIALS, type SocketPlace, type Where } from "./serial-draft.ts";

const COMMON = table({
  id: { type: text("ID"), required: "the name is missing: id=ID", help: "its name" },
  mux: { type: flag, help: "" },
  logfile: { type: refused("nothing is logged besides; use the back end file"), help: "" },
});

const FILE = table({
  path: {
    type: text("PATH"),
    required: "the file's name is missing: path=PATH",
    help: "the file",
  },
  append: { type: flag, help: "output is added to what the file has (default: off)" },
});

const STDIO = table({
  signal: { type: only("off", "Ctrl-C is for the guest; Ctrl-A x ends the machine"), help: "accepted: off" },
});

const SERVER = {
  server: { type: flag, help: "listens, in place of connecting (default: off)" },
  wait: { type: flag, help: "of a server: the guest starts when a client has connected (default: on)" },
  nodelay: { type: flag, help: "" },
} as const;

const SOCKET = table({
  path: { type: text("PATH"), help: "of a unix socket" },
  host: { type: text("HOST"), help: "of a TCP socket; a server without it listens on 127.0.0.1" },
  port: { type: integer(1, 65_535, "PORT"), help: "its port" },
  fd: { type: integer(0, 2 ** 31 - 1, "FD"), help: "a descriptor of a socket that listens" },
  ...SERVER,
  telnet: { type: only("off", "programs connect by plain TCP, as in nc HOST PORT"), help: "" },
  websocket: { type: only("off", "programs connect by plain TCP, as in nc HOST PORT"), help: "" },
  reconnect: { type: refused("the connection is made once; let this side be the server"), help: "" },
});
const SOCKET_KEYS = keysOf(SOCKET);
const SERVER_KEYS = keysOf(table(SERVER));
const FILE_KEYS = keysOf(FILE);

interface Backend {
  readonly help: string;
  readonly keys: Keys<object>;
  open(pairs: readonly KeyValue[], complain: Complain): Chardev;
}

const BACKENDS: Readonly<Record<string, Backend>> = {
  file: {
    help: "a file, which is created or emptied",
    keys: FILE_KEYS,
    open: (pairs, complain) => {
      const { path = "", append } = readKeys(pairs, together(FILE_KEYS, keysOf(COMMON)), complain);
      return { kind: "file", path, ...(append === true ? { append } : {}) };
    },
  },
  stdio: simple("the terminal", { kind: "stdio" }, keysOf(STDIO)),
  pty: simple("a new pseudo-terminal; its name is printed", { kind: "pty" }),
  socket: {
    help: "a unix socket or a TCP socket, for one client at a time; without one, output is lost",
    keys: SOCKET_KEYS,
    open: (pairs, complain) => {
      const said = readKeys(pairs, together(SOCKET_KEYS, keysOf(COMMON)), complain);
      const { path, host, port, fd } = said;
      const given = [path, port, fd].filter((each) => each !== undefined);
      if (given.length !== 1) throw complain("give one of path=PATH, port=PORT with host=HOST, and fd=FD");
      if (fd !== undefined && said.server !== true)
        throw complain("fd= is of a socket that listens: server=on");
      const place = path !== undefined ? { path } : port !== undefined ? tcp(host, port) : { fd: fd ?? 0 };
      return socket(place, said, complain);
    },
  },
  null: simple("nothing", { kind: "none" }),
};

/** Back ends of QEMU that are not built. */
const REFUSED =
  /^(vc|ringbuf|memory|pipe|udp|serial|tty|parallel|parport|braille|msmouse|wctablet|console|spice.*|qemu-vdagent|dbus|testdev|mux|hub)$/;

function simple(help: string, chardev: Chardev, keys: Keys<object> = { keys: [] }): Backend {
  return {
    help,
    keys,
    open: (pairs, complain) => {
      readKeys(pairs, together(keys, keysOf(COMMON)), complain);
      return chardev;
    },
  };
}

function socket(
  place: SocketPlace,
  { server = false, wait }: { server?: boolean; wait?: boolean },
  complain: Complain,
): Chardev {
  if (!server && wait !== undefined) throw complain("wait= is for the side that listens: server=on");
  return { kind: "socket", place, isServer: server, waits: server && (wait ?? true) };
}

function tcp(host: string | undefined, port: number): SocketPlace {
  return host === undefined || host === "" ? { port } : { host, port };
}

function addChardev(draft: Draft, value: string, typed: string, complain: Complain): void {
  const all = splitKeyValues(value, "backend");
  const name = all.find(({ key }) => key === "backend")?.value ?? "";
  const pairs = withoutShortForm(all.filter(({ key }) => key !== "backend"));
  const names = Object.keys(BACKENDS);
  if (!Object.hasOwn(BACKENDS, name)) {
    const what = REFUSED.test(name) ? `this version has no back end "${name}"` : `unknown back end "${name}"`;
    throw complain(`${what}${didYouMean(name, names)}; use ${names.join(", ")}`);
  }
  const { id = "" } = readKeys(
    pairs.filter(({ key }) => key === "id"),
    keysOf(COMMON),
    complain,
  );
  if (draft.chardevs.has(id)) throw complain(`another -chardev has the id "${id}"`);
  draft.chardevs.set(id, { typed, chardev: { label: id, ...BACKENDS[name].open(pairs, complain) } });
}

const ISA_SERIAL_READ = together(keysOf(ISA_SERIAL_KEYS, "device"), keysOf(table({ id: ID }), "device"));
const ISA_DEBUGCON_READ = together(keysOf(ISA_DEBUGCON_KEYS, "device"), keysOf(table({ id: ID }), "device"));

/** `-device isa-serial` */
export function addIsaSerial(
  draft: Draft,
  pairs: readonly KeyValue[],
  typed: string,
  complain: Complain,
): void {
  const { chardev = "", index, base, irq } = readKeys(pairs, ISA_SERIAL_READ, complain);
  if (index !== undefined && base !== undefined && index !== base) {
    throw complain(`iobase is that of COM${base + 1}, and index that of COM${index + 1}; give one of them`);
  }
  const place = index ?? base;
  if (irq !== undefined && irq !== SERIAL_IRQS[place ?? 0]) {
    throw complain(`irq=${irq} is not possible: it is 4 of COM1 and COM3, and 3 of COM2 and COM4`);
  }
  draft.isaSerials.push({ typed, id: chardev, index: place });
}

/** `-device isa-debugcon` */
export function addIsaDebugcon(
  draft: Draft,
  pairs: readonly KeyValue[],
  typed: string,
  complain: Complain,
): void {
  const { chardev: id = "" } = readKeys(pairs, ISA_DEBUGCON_READ, complain);
  if (draft.debugConsole !== undefined) throw complain("the debug console is connected already");
  draft.debugConsole = { typed, where: { kind: "named", id } };
}

const CHARDEV_HELP: readonly HelpGroup[] = [
  ...Object.entries(BACKENDS).map(([name, { help, keys }]) => ({
    title: `${name}: ${help}`,
    rows: keyHelp(keys),
  })),
  { title: "all back ends:", rows: keyHelp(keysOf(COMMON)) },
];

export const SERIAL_OPTIONS: readonly OptionRow[] = [
  {
    names: ["serial"],
    argument: "WHERE",
    example: "-serial stdio",
    help: "connects the next of COM1 to COM4 (default: stdio for COM1). WHERE is one of:",
    values: [
      {
        rows: [
          ["stdio", "the terminal (also mon:stdio)"],
          ["file:PATH", "a file, which is created or emptied"],
          ["pty", "a new pseudo-terminal; its name is printed"],
          ["unix:PATH[,server=on][,wait=off]", "a unix socket: connects, or waits for a client"],
          ["tcp:[HOST]:PORT[,server=on][,wait=off]", "the same by TCP"],
          ["chardev:ID", "the -chardev of that id"],
          ["none", "nothing (also null)"],
        ],
      },
    ],
    apply: (draft, value, typed, complain) => {
      if (draft.serials.length === MAX_SERIALS) throw complain("this machine has four serial ports");
      draft.serials.push({ typed, where: placeOf(value, complain) });
    },
  },
  {
    names: ["chardev"],
    argument: "BACKEND,id=ID[,KEY=VALUE…]",
    example: "-chardev file,id=c0,path=console.log",
    help: "describes what a -serial or -device isa-serial connects a port to. Back ends and keys:",
    values: CHARDEV_HELP,
    apply: addChardev,
  },
  {
    names: ["debugcon"],
    argument: "WHERE",
    example: "-debugcon stdio",
    help: "connects the debug console (ports 0xe9 and 0x402): stdio, file:PATH, chardev:ID or none (default)",
    apply: (draft, value, typed, complain) => {
      draft.debugConsole = { typed, where: placeOf(value, complain) };
    },
  },
];

function placeOf(value: string, complain: Complain): Where {
  if (value === "stdio" || value === "mon:stdio") return { kind: "stdio" };
  if (value === "pty") return { kind: "pty" };
  if (value === "none" || value === "null") return { kind: "none" };
  const [, kind, rest] = /^(file|chardev|unix|tcp):(.*)$/s.exec(value) ?? [];
  if (kind === "file") {
    if (rest === "") throw complain("the file's name is missing: file:PATH");
    return { kind: "file", path: rest };
  }
  if (kind === "chardev") return { kind: "named", id: rest };
  if (kind === "unix" || kind === "tcp") return socketOf(kind, rest, complain);
  throw complain(
    `unknown place "${value}"${didYouMean(value, ["stdio", "pty", "none"])}; use stdio, file:PATH, pty, unix:PATH, tcp:HOST:PORT, chardev:ID or none`,
  );
}

/** `unix:PATH,server,nowait` and `tcp:HOST:PORT,…` */
function socketOf(kind: "unix" | "tcp", rest: string, complain: Complain): Chardev {
  const [first, ...more] = splitKeyValues(rest, "place");
  const said = readKeys(withoutShortForm(more), SERVER_KEYS, complain);
  if (kind === "unix") {
    if (first.value === "") throw complain("the socket's name is missing: unix:PATH");
    return socket({ path: first.value }, said, complain);
  }
  const found = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(first.value);
  const port = Number(found?.[3]);
  if (found === null || port === 0 || port > 65_535) {
    throw complain(`"${first.value}" is not a place as in tcp:127.0.0.1:4444`);
  }
  return socket(tcp(found[1] ?? found[2], port), said, complain);
}

/** QEMU's old form of wait=off. */
function withoutShortForm(pairs: readonly KeyValue[]): KeyValue[] {
  return pairs.map((pair) => (pair.key === "nowait" ? { key: "wait", value: "off" } : pair));
}
