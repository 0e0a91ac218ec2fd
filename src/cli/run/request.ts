/**
 * What `vmexit run` has to do: the machine, and what the command itself does around
 * it. Options fill a draft; `finish` checks what concerns several options.
 */
import { OptionError } from "../../base/errors.ts";
import type { DriveOptions } from "../../config/devices/virtio-blk.ts";
import type { DEVICES } from "../../config/devices.ts";
import type { VmOptions } from "../../config/machine.ts";
import type { Options } from "../../config/schema.ts";
import type { TraceFilter } from "../../config/trace.ts";
import type { GdbPlace } from "../../gdb/server.ts";
import type { RestoreOptions } from "../../vm/restore-vm.ts";
import { type FlashDraft, finishFlash } from "./flash-draft.ts";
import { emptyMemoryDraft, finishMemory, type MemoryDraft } from "./memory-draft.ts";
import { finishCards, type NetworkDraft } from "./network-draft.ts";
import { type Chardev, finishSerials, type SerialDraft } from "./serial-draft.ts";

/** A file that exits are written to. */
export interface TraceFile {
  /** NDJSON; a name that ends in .json gets the Chrome trace format. */
  readonly path: string;
  readonly filter: TraceFilter;
}

/** A new machine, or one that continues from a snapshot. */
export type RunRequest = RunSettings &
  (
    | { readonly vm: VmOptions; readonly loadvm?: undefined }
    | { readonly vm: RestoreOptions; readonly loadvm: string }
  );

/** A snapshot that is made once, without a key. */
export interface SaveRequest {
  readonly dir: string;
  /** Made when COM1 printed this. */
  readonly until: string;
  readonly timeoutMs: number;
}

/** Files of a seed for cloud-init. */
export interface CloudInitPaths {
  readonly "user-data"?: string;
  readonly "meta-data"?: string;
  readonly "network-config"?: string;
}

/** What the command does around a machine. */
export interface RunSettings {
  /** One more drive, with these files. */
  readonly cloudInit?: CloudInitPaths;
  /** COM1 and up. The ports of a new machine are as many; a saved one may have more. */
  readonly serials: readonly Chardev[];
  readonly debugConsole: Chardev;
  /** Where gdb may connect. */
  readonly gdb?: GdbPlace;
  /** The guest starts when gdb continues it. */
  readonly startStopped: boolean;
  /** Print the machine's counters when it has ended. */
  readonly stats: boolean;
  /** Print each access that no device answers. */
  readonly traceUnclaimed: boolean;
  /** Print each frame of the network cards, and what the user network decides. */
  readonly traceNetwork?: true;
  /** Files that exits are written to. */
  readonly traceFiles: readonly TraceFile[];
  /** Where Ctrl-A s saves the machine, if not in a new folder. */
  readonly savevm?: string;
  /** Sentences to print: what was typed and has no effect. */
  readonly notes: readonly string[];
  /** The name of the process, as ps shows it. */
  readonly processName?: string;
}

/** A drive as typed; `attach` is false until something connects it to the machine. */
export interface DriveDraft {
  readonly typed: string;
  readonly attach: boolean;
  /** What it is attached to. Undefined: what the machine has for disks that do not say. */
  readonly interface?: "virtio" | "ide" | "scsi" | undefined;
  readonly options: DriveOptions;
}

/** What a -blockdev described: a disk, or the file that another one describes as an image. */
export interface BlockNode extends DriveDraft {
  /** Where its bytes are. */
  readonly storage: "file" | "nbd";
  /** They are an image of a format other than raw. */
  readonly isImage: boolean;
  /** cache.direct and cache.no-flush, from which `options.cache` is made. */
  readonly direct: boolean;
  readonly noFlush: boolean;
}

/** What a -device says of a disk. */
interface DiskDraft {
  readonly typed: string;
  /** Undefined: an empty CD drive. */
  readonly drive: string | undefined;
  readonly options: DriveOptions;
  /** The SCSI controller that is named; empty for the first. */
  readonly bus?: string;
}

export interface Draft extends NetworkDraft, SerialDraft {
  vm: { -readonly [K in keyof Omit<VmOptions, "kernel" | "drives" | "network" | "cpu">]: VmOptions[K] };
  /** As -cpu has it. */
  cpu?: string;
  kernel?: string;
  /** Those of -drive, in its order. */
  drives: DriveDraft[];
  /** Nodes that have a name. Only a -device attaches them. */
  nodes: BlockNode[];
  /** Drives that `-device virtio-blk-device,drive=ID` attaches, by id, and what it says of them; an empty CD drive has none. */
  disks: DiskDraft[];
  /** SCSI controllers, in the order of their -device options. */
  controllers: NonNullable<VmOptions["scsi"]>[number][];
  /** Sentences for the user, about what has no effect. */
  notes: string[];
  /** Other devices: what the options of createVm are set to. */
  devices: Map<string, true | object>;
  /** Devices by the names that were typed. */
  named: { readonly typed: string; readonly name: string }[];
  memory: MemoryDraft;
  flash: FlashDraft;
  /** Options that ask for what is not built, each with why it cannot be had. */
  refused: { readonly typed: string; readonly why: string }[];
  gdb?: GdbPlace;
  /** The folder of the snapshot to continue from. */
  loadvm?: string;
  savevm?: string;
  cloudInit?: CloudInitPaths;
  startStopped: boolean;
  noDefaults: boolean;
  /** For all drives. */
  snapshot: boolean;
  /** As ps shows it. */
  processName?: string;
  stats: boolean;
  traceUnclaimed: boolean;
  traceNetwork?: true;
  traceFiles: TraceFile[];
  wantsHelp: boolean;
  /** Text to print instead of running anything. */
  print?: string | (() => Promise<string>);
}

export function emptyDraft(): Draft {
  return {
    vm: {},
    drives: [],
    nodes: [],
    disks: [],
    controllers: [],
    netdevs: [],
    cards: [],
    nets: [],
    nics: [],
    saidNetwork: false,
    dumps: [],
    hubs: new Map(),
    notes: [],
    devices: new Map(),
    named: [],
    memory: emptyMemoryDraft(),
    flash: { chips: [], named: [] },
    chardevs: new Map(),
    serials: [],
    isaSerials: [],
    refused: [],
    startStopped: false,
    noDefaults: false,
    snapshot: false,
    stats: false,
    traceUnclaimed: false,
    traceFiles: [],
    wantsHelp: false,
  };
}

/** @throws {OptionError} if the options do not make a machine together. */
export function finish(draft: Draft): RunRequest {
  refuseAll(draft);
  const { kernel, loadvm } = draft;
  const { machine = kernel === undefined ? "pc" : "microvm" } = draft.vm;
  if (kernel === undefined && loadvm === undefined && machine === "microvm") {
    throw new OptionError(
      "there is no guest to start: give one with -kernel FILE (a bzImage, an ELF vmlinux, a Multiboot kernel, or a flat binary with -load-address), or a snapshot with -loadvm DIR",
    );
  }
  const { serials, debugConsole } = finishSerials(draft);
  if (draft.startStopped && draft.gdb === undefined) {
    throw new OptionError(
      "-S: the guest could never start; let a debugger connect too: -s, or -gdb tcp::PORT",
    );
  }
  if (loadvm === undefined) refuseOtherBus(draft, machine === "pc");
  finishMemory(draft.memory, draft.vm);
  // Without -M, a machine that continues is what its snapshot says, and its drives are where they were.
  const board = loadvm === undefined ? machine : draft.vm.machine;
  const drives = finishDrives(draft, board);
  const isNew = loadvm === undefined;
  const model = isNew && machine === "pc" ? "e1000" : "virtio";
  const cards = finishCards(draft, model, (note) => void draft.notes.push(note));
  const hasDefaultNetwork = !draft.saidNetwork && !draft.noDefaults;
  const network = isNew && hasDefaultNetwork && machine === "pc" ? [DEFAULT_NETWORK] : cards;
  const flash = finishFlash(draft.flash, [...draft.drives, ...draft.nodes]) ?? [];
  const vm = {
    ...draft.vm,
    ...devicesOf(draft),
    ...(drives.length > 0 ? { drives } : {}),
    ...(network.length > 0 ? { network } : {}),
    ...(flash.length > 0 ? { flash } : {}),
  };
  const settings: RunSettings = {
    serials,
    debugConsole,
    ...(draft.gdb === undefined ? {} : { gdb: draft.gdb }),
    startStopped: draft.startStopped,
    stats: draft.stats,
    traceUnclaimed: draft.traceUnclaimed,
    ...(draft.traceNetwork && { traceNetwork: true }),
    traceFiles: draft.traceFiles,
    ...(draft.savevm === undefined ? {} : { savevm: draft.savevm }),
    notes: draft.notes,
    ...(draft.processName === undefined ? {} : { processName: draft.processName }),
    ...(draft.cloudInit === undefined ? {} : { cloudInit: draft.cloudInit }),
  };
  if (loadvm !== undefined) {
    refuseBootOptions(draft);
    const more = {
      ...(kernel === undefined ? {} : { kernel }),
      ...(hasDefaultNetwork ? { defaultNetwork: true } : {}),
    };
    return { ...settings, vm: { ...vm, ...more }, loadvm };
  }
  const cpu = draft.cpu === undefined ? {} : { cpu: draft.cpu };
  const start = kernel === undefined ? { machine } : { kernel };
  return { ...settings, vm: { ...vm, ...cpu, ...start, serialPorts: serials.length } };
}

/** One message names all that has to be left out. */
function refuseAll({ refused }: Draft): void {
  const [first, ...more] = refused.map(({ typed, why }) => `${typed}: ${why}`);
  if (first === undefined) return;
  throw new OptionError([first, ...more.map((sentence) => `  also ${sentence}`)].join("\n"));
}

/** As QEMU's pc has it, if no option says anything of networks. */
const DEFAULT_NETWORK = { model: "e1000", user: {} } as const;

/** What a machine that continues has no use for. */
function refuseBootOptions({ kernel, vm, cpu }: Draft): void {
  if (cpu !== undefined) throw new OptionError("-cpu: with -loadvm, the CPU is that of the snapshot");
  if (vm.memoryBacking !== undefined || vm.hugePages === true || vm.prealloc === true) {
    throw new OptionError("-memory-backing: with -loadvm, memory is the file of the snapshot");
  }
  if (kernel !== undefined) return;
  const given = Object.entries({
    "-initrd": vm.initrd,
    "-append": vm.cmdline,
    "-load-address": vm.loadAddress,
  });
  const [option] = given.find(([, value]) => value !== undefined) ?? [];
  if (option === undefined) return;
  throw new OptionError(
    `${option}: it belongs to a kernel: with -loadvm, that of a reset, which needs -kernel FILE too`,
  );
}

/** QEMU names a virtio device by the bus that it is on. */
function refuseOtherBus({ named }: Draft, hasPci: boolean): void {
  for (const { typed, name } of named) {
    const here = name.replace(/-(pci|device)$/, hasPci ? "-pci" : "-device");
    if (!name.startsWith("virtio-") || here === name) continue;
    const reason = hasPci ? "a pc has its virtio devices on the PCI bus" : "a microvm has no PCI bus";
    throw new OptionError(`${typed}: ${reason}; use ${here}`);
  }
}

/** Drives with if= in the order given, then those that a -device attaches, in the order of the -device options. */
function finishDrives(draft: Draft, board: VmOptions["machine"]): DriveOptions[] {
  const described = new Map<string, DriveDraft>();
  const inCdDrives = new Set(draft.disks.map(({ drive, options }) => options.media === "cdrom" && drive));
  for (const drive of [...draft.drives, ...draft.nodes]) {
    const { typed } = drive;
    const { file, id } = drive.options;
    const mayBeEmpty = drive.options.media === "cdrom" || inCdDrives.has(id ?? "");
    if (file === undefined && !mayBeEmpty) throw new OptionError(`${typed}: the file is missing: file=PATH`);
    if (id === undefined) continue;
    if (described.has(id)) throw new OptionError(`${typed}: another drive has the id "${id}"`);
    described.set(id, drive);
  }
  const attached = new Set(draft.drives.filter((drive) => drive.attach));
  const ordered = [...attached].map((drive) => {
    const on = drive.interface ?? (board === "pc" ? "ide" : "virtio");
    return on === "virtio" ? drive : { ...drive, options: { ...drive.options, interface: on } };
  });
  for (const disk of draft.disks) {
    const { typed, drive: id } = disk;
    const options = disk.bus === undefined ? disk.options : onController(draft, disk, disk.bus);
    if (id === undefined) {
      ordered.push({ typed, attach: false, options: { interface: "ide", ...options } });
      continue;
    }
    const drive = described.get(id);
    if (drive === undefined) {
      throw new OptionError(
        `${typed}: there is no -drive with id=${id}, nor a -blockdev with node-name=${id}`,
      );
    }
    if (attached.has(drive)) {
      const advice = drive.attach ? "; give it if=none" : "";
      throw new OptionError(`${typed}: the drive "${id}" is attached already${advice}`);
    }
    attached.add(drive);
    ordered.push({ ...drive, typed, options: { ...drive.options, ...options } });
  }
  return ordered.map(({ typed, options }) => {
    if (options.interface === "ide" && board === "microvm") {
      throw new OptionError(
        `${typed}: a microvm has virtio disks only; use -drive file=PATH,if=virtio, or a pc by -M pc`,
      );
    }
    return draft.snapshot && options.media !== "cdrom" ? { ...options, snapshot: true } : options;
  });
}

/** QEMU names the bus of a controller ID.0, or scsi.N without an id. */
function onController(
  { controllers, loadvm }: Draft,
  { typed, options }: DiskDraft,
  bus: string,
): DriveOptions {
  if (controllers.length === 0 && loadvm === undefined) {
    throw new OptionError(
      `${typed}: there is no SCSI controller; add one before it: -device virtio-scsi-pci`,
    );
  }
  if (bus === "") return options;
  const unnamed = controllers.filter(({ id }) => id === undefined);
  const meant =
    controllers.find(({ id }) => bus === `${id}.0`) ?? unnamed[Number(/^scsi\.(\d+)$/.exec(bus)?.[1])];
  if (meant === undefined) throw new OptionError(`${typed}: there is no SCSI controller with the bus ${bus}`);
  return { ...options, controller: controllers.indexOf(meant) };
}

function devicesOf(draft: Draft): Omit<Options<typeof DEVICES>, "drives" | "network">;
function devicesOf({ devices, controllers }: Draft): object {
  return { ...Object.fromEntries(devices), ...(controllers.length > 0 ? { scsi: controllers } : {}) };
}
