/**
 * The options of `vmexit run`: QEMU's names, with one dash or two.
 *
 * Each option is one row of OPTIONS. The parser and `--help` both read the
 * table, so neither can know an option that the other does not. Parsing is a
 * pure function: it opens no file and prints nothing.
 *
 * Source: QEMU 7.2, qemu-options.hx. An option of QEMU's that has no meaning
 * for this machine is answered by src/cli/run/qemu-options.ts.
 */
import { didYouMean, OptionError } from "../../base/errors.ts";
import { MIB, parseSize } from "../../base/units.ts";
import type { Complain, KeyRow } from "../key-values.ts";
import { complainAbout, count, onOff, setKeys } from "../key-values.ts";
import { addBlockdev, BLOCKDEV_LINES } from "./blockdev-options.ts";
import { addDevice, addDrive, DRIVE_KEY_LINES } from "./drive-options.ts";
import { GDB_OPTIONS } from "./gdb-options.ts";
import type { OptionRow } from "./option-row.ts";
import { refuseQemuOption } from "./qemu-options.ts";
import type { Chardev, Draft, RunRequest } from "./request.ts";
import { emptyDraft, finish } from "./request.ts";
import { addTrace, TRACE_KEY_LINES } from "./trace-options.ts";

/** What the command line asks for: a text, or a machine. */
export type RunCommand =
  | { readonly action: "print"; readonly text: string }
  | { readonly action: "run"; readonly request: RunRequest };

const MEMORY_KEYS: readonly KeyRow<Draft>[] = [
  {
    name: "size",
    values: "SIZE",
    help: "",
    set: (draft, value, complain) => {
      const bytes = prefixed(complain, () => parseSize(value, "size", MIB));
      if (bytes < MIB || bytes % 4096 !== 0)
        throw complain(`size="${value}" is not a multiple of 4K from 1M on`);
      draft.vm.memory = /[a-z]$/i.test(value) ? value : `${value}M`; // as typed, for later messages
    },
  },
];

interface Topology {
  cpus?: number;
  maxcpus?: number;
  sockets?: number;
  cores?: number;
  threads?: number;
}

const TOPOLOGY_KEYS: readonly KeyRow<Topology>[] = (
  ["cpus", "maxcpus", "sockets", "cores", "threads"] as const
).map((name) => ({
  name,
  values: "N",
  help: "",
  set: (topology, value, complain) => {
    topology[name] = count(name, value, complain);
  },
}));

const NAME_KEYS: readonly KeyRow<Draft>[] = [
  {
    name: "guest",
    aliases: ["name"],
    values: "NAME",
    help: "",
    set: (draft, value) => {
      draft.vm.name = value;
    },
  },
  {
    name: "debug-threads",
    values: "on|off",
    help: "",
    set: (_draft, value, complain) => void onOff("debug-threads", value, complain),
  },
];

const MACHINE_KEYS: readonly KeyRow<Draft>[] = [
  {
    name: "type",
    values: "microvm",
    help: "",
    set: (draft, value, complain) => {
      if (value === "help" || value === "?") draft.print = MACHINE_HELP;
      else if (value !== "microvm")
        throw complain(`unknown machine "${value}"; this version has one: microvm`);
      else draft.vm.machine = "microvm";
    },
  },
  fixed("accel", "kvm", "guests run under KVM and nothing else"),
  fixed("acpi", "on", "the machine describes itself by ACPI"),
  fixed("rtc", "on", "the clock is always there"),
  fixed("pic", "on", "the interrupt controllers are KVM's own"),
  fixed("pit", "on", "the timer is KVM's own"),
  fixed("isa-serial", "on", "COM1 is always there"),
  fixed("usb", "off", "there is no USB"),
  fixed("graphics", "off", "there is no display"),
  // QEMU names the virtio devices on the kernel's command line; here ACPI does, which serves either way.
  {
    name: "auto-kernel-cmdline",
    values: "on|off",
    help: "",
    set: (_draft, value, complain) => void onOff("auto-kernel-cmdline", value, complain),
  },
];

const MACHINE_HELP = "Machines:\n  microvm  virtio over MMIO, serial ports, ACPI; no PCI (default)\n";
const CPU_HELP = "CPUs:\n  host  what the host's KVM offers (default)\n  max   the same\n";

export const OPTIONS: readonly OptionRow[] = [
  {
    names: ["kernel"],
    argument: "FILE",
    example: "-kernel vmlinuz",
    help: "what to start: a bzImage, an ELF vmlinux (PVH), a Multiboot kernel, or a flat binary with -load-address",
    apply: (draft, value) => {
      draft.kernel = value;
    },
  },
  {
    names: ["initrd"],
    argument: "FILE",
    example: "-initrd initrd.img",
    help: "the initial RAM disk; for a Multiboot kernel, its module",
    apply: (draft, value) => {
      draft.vm.initrd = value;
    },
  },
  {
    names: ["append"],
    argument: "TEXT",
    example: "-append 'console=ttyS0'",
    help: "the kernel's command line",
    anyText: true,
    apply: (draft, value) => {
      draft.vm.cmdline = value;
    },
  },
  {
    names: ["load-address"],
    argument: "ADDRESS",
    example: "-load-address 0x1000",
    help: "the kernel is a flat real-mode binary: load and enter it here, below 1 MiB",
    apply: (draft, value, _typed, complain) => {
      if (!/^(0x[0-9a-f]{1,8}|[0-9]{1,9})$/i.test(value) || Number(value) >= MIB) {
        throw complain("not an address below 1 MiB, as in 0x1000");
      }
      draft.vm.loadAddress = Number(value);
    },
  },
  {
    names: ["m"],
    argument: "[size=]SIZE",
    example: "-m 256M",
    help: "memory, in MiB or with K, M, G or T: 256, 256M, 1G (default 128M)",
    apply: (draft, value, _typed, complain) => setKeys(value, MEMORY_KEYS, draft, complain, "size"),
  },
  {
    names: ["smp"],
    argument: "[cpus=]N",
    example: "-smp 2",
    help: "CPUs (default 1); sockets=, cores=, threads= and maxcpus= may be given if they agree",
    apply: (draft, value, _typed, complain) => {
      const topology: Topology = {};
      setKeys(value, TOPOLOGY_KEYS, topology, complain, "cpus");
      draft.vm.cpus = cpuCount(topology, complain);
    },
  },
  {
    names: ["name"],
    argument: "NAME",
    example: "-name test",
    help: "the machine's name, for messages",
    apply: (draft, value, _typed, complain) => setKeys(value, NAME_KEYS, draft, complain, "guest"),
  },
  {
    names: ["drive"],
    argument: "file=PATH[,KEY=VALUE…]",
    example: "-drive file=disk.img,format=raw",
    help: "a disk; may be repeated. A comma in a value is written twice. Keys:",
    details: DRIVE_KEY_LINES,
    apply: addDrive,
  },
  {
    names: ["blockdev"],
    argument: "driver=NAME,node-name=NODE[,KEY=VALUE…]",
    example: "-blockdev driver=file,filename=disk.img,node-name=d0",
    help: "describes a disk that a -device attaches; the same as JSON will do. Drivers and keys:",
    details: BLOCKDEV_LINES,
    apply: addBlockdev,
  },
  {
    names: ["snapshot"],
    help: "what the guest writes to its disks goes to temporary files; the images stay as they are",
    apply: (draft) => {
      draft.snapshot = true;
    },
  },
  {
    names: ["device"],
    argument: "NAME[,KEY=VALUE…]",
    example: "-device virtio-rng-device",
    help: "adds a device; -device help lists them",
    apply: addDevice,
  },
  {
    names: ["serial"],
    argument: "WHERE",
    example: "-serial stdio",
    help: "connects the next of COM1 to COM4 (default: stdio for COM1). WHERE is one of:",
    details: [
      "stdio      the terminal (also mon:stdio)",
      "file:PATH  a file, made anew",
      "pty        a new pseudo-terminal, whose name is printed",
      "none       nothing (also null)",
    ],
    apply: (draft, value, _typed, complain) => {
      if (draft.serials.length === 4) throw complain("this machine has four serial ports");
      draft.serials.push(chardev(value, complain));
    },
  },
  {
    names: ["debugcon"],
    argument: "WHERE",
    example: "-debugcon stdio",
    help: "connects the debug console (ports 0xe9 and 0x402): stdio, file:PATH or none (default)",
    apply: (draft, value, _typed, complain) => {
      const where = chardev(value, complain);
      if (where.kind === "pty") throw complain("the debug console only sends; use stdio or file:PATH");
      draft.debugConsole = where;
    },
  },
  flag(["nographic"], "COM1 is the terminal; this is so anyway, there is no display", () => {}),
  flag(["no-reboot"], "end when the guest resets, instead of starting it again", (draft) => {
    draft.vm.onReset = "exit";
  }),
  {
    names: ["machine", "M"],
    argument: "[type=]microvm",
    example: "-machine microvm",
    help: "the machine; -machine help lists them. accel=kvm and other truths are accepted",
    apply: (draft, value, _typed, complain) => setKeys(value, MACHINE_KEYS, draft, complain, "type"),
  },
  {
    names: ["accel"],
    argument: "kvm",
    help: "accepted: guests run under KVM and nothing else",
    apply: only("kvm", "guests run under KVM and nothing else"),
  },
  flag(["enable-kvm"], "accepted: guests run under KVM anyway", () => {}),
  {
    names: ["cpu"],
    argument: "host",
    help: "accepted: guests see what the host's KVM offers (also max)",
    apply: (draft, value, _typed, complain) => {
      if (value === "help" || value === "?") draft.print = CPU_HELP;
      else if (value !== "host" && value !== "max") {
        throw complain("CPU models are not known to this version; use -cpu host");
      }
    },
  },
  {
    names: ["memory-backing"],
    argument: "memfd|anonymous",
    example: "-memory-backing memfd",
    help: "guest memory is a memfd (default) or private anonymous memory",
    apply: (draft, value, _typed, complain) => {
      if (value !== "memfd" && value !== "anonymous") {
        throw complain(`neither memfd nor anonymous${didYouMean(value, ["memfd", "anonymous"])}`);
      }
      draft.vm.memoryBacking = value;
    },
  },
  {
    names: ["trace"],
    argument: "WHAT",
    example: "-trace exits=boot.trace",
    help: "writes down what happens; may be repeated. WHAT is unclaimed, or exits=FILE and other keys:",
    details: TRACE_KEY_LINES,
    apply: addTrace,
  },
  ...GDB_OPTIONS,
  flag(["stats"], "prints the machine's counters, and KVM's own, when it has ended", (draft) => {
    draft.stats = true;
  }),
  flag(["nodefaults"], "COM1 is connected to nothing unless -serial says so", (draft) => {
    draft.noDefaults = true;
  }),
  flag(["no-user-config"], "accepted: there is no configuration file", () => {}),
  ...["display", "vga", "monitor", "parallel", "net", "nic"].map((name) => ({
    names: [name],
    argument: "none",
    help: "accepted: there is none",
    apply: only("none", "this version has none"),
  })),
  flag(["help", "h"], "this text", (draft) => {
    draft.print = runHelp();
  }),
];

/** @throws {OptionError} on anything that cannot be done as typed. */
export function parseRun(argv: readonly string[]): RunCommand {
  const draft = emptyDraft();
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at];
    const match = /^--?([^=-][^=]*)(?:=(.*))?$/s.exec(word);
    if (match === null) throw new OptionError(strayWord(word));
    const [, name, attached] = match;
    const row = findOption(name);
    if (row === undefined) throw unknownOption(word, name);
    const option = attached === undefined ? word : word.slice(0, word.length - attached.length - 1);
    if (row.argument === undefined) {
      if (attached !== undefined) throw new OptionError(`${word}: ${option} takes no value`);
      row.apply(draft, "", word, complainAbout(word));
    } else {
      const value = attached ?? argv[++at];
      if (value === undefined) throw missingValue(option, row);
      if (row.anyText !== true) {
        if (value === "") throw missingValue(option, row);
        if (attached === undefined && isOption(value)) throw missingValue(option, row, value);
      }
      const typed = `${option} ${value}`;
      row.apply(draft, value, typed, complainAbout(typed));
    }
    if (draft.print !== undefined) return { action: "print", text: draft.print };
  }
  return { action: "run", request: finish(draft) };
}

/** The text of `vmexit run --help`. */
export function runHelp(): string {
  const left = OPTIONS.map((row) => {
    const names = row.names.map((name) => `-${name}`).join(", ");
    return row.argument === undefined ? names : `${names} ${row.argument}`;
  });
  const width = 2 + 27;
  const lines = OPTIONS.flatMap((row, index) => {
    const head = `  ${left[index]}`;
    const first =
      head.length < width - 1 ? [head.padEnd(width) + row.help] : [head, " ".repeat(width) + row.help];
    return [...first, ...(row.details ?? []).map((line) => `${" ".repeat(width + 2)}${line}`)];
  });
  return `Usage: vmexit run -kernel FILE [OPTION]…

Starts a virtual machine. Options are QEMU's, with one dash or two; -m=256 is -m 256.

${lines.join("\n")}
`;
}

function findOption(name: string): OptionRow | undefined {
  return OPTIONS.find((row) => row.names.includes(name));
}

function isOption(word: string): boolean {
  const match = /^--?([^=-][^=]*)/.exec(word);
  return match !== null && findOption(match[1]) !== undefined;
}

function unknownOption(word: string, name: string): OptionError {
  const refused = refuseQemuOption(name);
  if (refused !== undefined) return new OptionError(`${word}: ${refused}`);
  const names = OPTIONS.flatMap((row) => row.names);
  return new OptionError(
    `${word}: unknown option${didYouMean(name, names, "-")}; vmexit run --help lists the options`,
  );
}

function missingValue(option: string, row: OptionRow, next?: string): OptionError {
  const like = row.example ?? `${option} ${row.argument}`;
  const found = next === undefined ? "" : `, and the next word is the option ${next}`;
  return new OptionError(`${option}: needs a value, as in ${like}${found}`);
}

function strayWord(word: string): string {
  return `"${word}": expected an option; a disk is given with -drive file=PATH,format=raw, a kernel with -kernel PATH`;
}

function chardev(value: string, complain: Complain): Chardev {
  if (value === "stdio" || value === "mon:stdio") return { kind: "stdio" };
  if (value === "pty") return { kind: "pty" };
  if (value === "none" || value === "null") return { kind: "none" };
  if (value.startsWith("file:")) {
    if (value === "file:") throw complain("the file's name is missing: file:PATH");
    return { kind: "file", path: value.slice("file:".length) };
  }
  throw complain(
    `unknown place "${value}"${didYouMean(value, ["stdio", "pty", "none"])}; use stdio, file:PATH, pty or none`,
  );
}

function cpuCount(topology: Topology, complain: Complain): number {
  const { sockets, cores, threads } = topology;
  const product = (sockets ?? 1) * (cores ?? 1) * (threads ?? 1);
  const cpus = topology.cpus ?? topology.maxcpus ?? product;
  const whole = sockets !== undefined && cores !== undefined && threads !== undefined;
  // Of sockets, cores and threads, those left out take what is missing.
  if (whole ? product !== cpus : cpus % product !== 0) {
    throw complain(`${product} CPUs in sockets, cores and threads do not make ${cpus}`);
  }
  if (topology.maxcpus !== undefined && topology.maxcpus !== cpus) {
    throw complain("CPUs cannot be added later: maxcpus has to equal cpus");
  }
  return cpus;
}

/** A key that may only say what is so anyway. */
function fixed(name: string, truth: string, because: string): KeyRow<Draft> {
  return {
    name,
    values: truth,
    help: "",
    set: (_draft, value, complain) => {
      const same =
        truth === "on" || truth === "off"
          ? onOff(name, value, complain) === (truth === "on")
          : value === truth;
      if (!same) throw complain(`${name}=${value} cannot be had: ${because}`);
    },
  };
}

/** An option that may only say what is so anyway. */
function only(truth: string, because: string): OptionRow["apply"] {
  return (_draft, value, _typed, complain) => {
    if (value !== truth) throw complain(`${because}; only "${truth}" is accepted`);
  };
}

function flag(names: readonly string[], help: string, set: (draft: Draft) => void): OptionRow {
  return { names, help, apply: set };
}

/** Runs a check of another layer; its error then says what was typed, as all of them do here. */
function prefixed<T>(complain: Complain, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof OptionError) throw complain(error.message);
    throw error;
  }
}
