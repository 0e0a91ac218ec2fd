/**
 * machine.json of a snapshot: what machine it is, for people and for a first
 * check. Everything in it is checked here, and nowhere else.
 *
 * Source: docs/snapshot-format.md.
 */
import { PAGE } from "../base/units.ts";
import type { FileIdentity } from "./drive-identity.ts";
import type { RamFacts } from "./ram-file.ts";
import { CONTINUED_FORMAT, FORMAT, FORMATS_READ } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";

/** How the machine was made, as createVm takes it; without what concerns the host alone. createVm checks it. */
export type SavedOptions = Readonly<Record<string, unknown>>;

/** Where the data of a drive is. */
export interface SavedDrive {
  readonly name: string;
  /** Undefined for a disk of the program's own, or of a server. */
  readonly file?: FileIdentity | undefined;
  /** What the guest wrote is in the snapshot: overlayFile. */
  readonly overlay: boolean;
}

export interface ParentSnapshot {
  /** Of its folder, which is beside the one of the snapshot that continues it. */
  readonly name: string;
  /** CRC-32 of its `state`, which has that of its machine.json, which has that of its `ram`. */
  readonly state: number;
}

export interface Manifest {
  readonly format: number;
  /** The version of vmexit that made it. */
  readonly vmexit: string;
  /** ISO 8601. */
  readonly time: string;
  readonly name: string;
  readonly options: SavedOptions;
  /** How the kernel was started: see BootPlan. */
  readonly protocol: string;
  /** MachineSpec. To be compared with that of the machine that is made to continue. */
  readonly spec: unknown;
  readonly drives: readonly SavedDrive[];
  /** The snapshot that it continues: pages that its `ram` does not have are in that one. */
  readonly parent?: ParentSnapshot | undefined;
  readonly ram: RamFacts;
  /** For people: what decides is in the sections of the CPUs. */
  readonly cpu: unknown;
}

export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

/** @throws {SnapshotError} that names the file and what is wrong in it */
export function parseManifest(text: string, path: string): Manifest {
  const wrong = (what: string): never => {
    throw new SnapshotError(path, what);
  };
  const all = new Fields(parse(text, wrong), "it", wrong);
  const format = all.integer("format", 0);
  const vmexit = all.text("vmexit");
  if (format !== FORMAT && format !== CONTINUED_FORMAT) {
    wrong(`its format is ${format}, of vmexit ${vmexit}; ${FORMATS_READ}`);
  }
  const parent = format === CONTINUED_FORMAT ? parentOf(all.fields("parent")) : undefined;
  const ram = all.fields("ram");
  const size = ram.integer("size", PAGE);
  if (size % PAGE !== 0) wrong(`ram.size ${size} is not a multiple of ${PAGE}`);
  return {
    ...{ format, vmexit },
    time: timeOf(all),
    name: all.text("name"),
    options: all.fields("options").all,
    protocol: all.text("protocol"),
    spec: all.value("spec"),
    drives: all.list("drives").map((drive) => ({
      name: drive.text("name"),
      file: drive.has("file") ? fileOf(drive.fields("file")) : undefined,
      overlay: drive.flag("overlay"),
    })),
    ...(parent === undefined ? {} : { parent }),
    ram: { size, pages: ram.integer("pages", 0), crc32: ram.integer("crc32", 0) },
    cpu: all.value("cpu"),
  };
}

function timeOf(all: Fields): string {
  const time = all.text("time");
  if (Number.isNaN(Date.parse(time))) all.wrong("time", "a time as in 2026-11-30T12:00:00Z");
  return time;
}

/** A name that leads elsewhere would make whoever restores it read other folders. */
function parentOf(parent: Fields): ParentSnapshot {
  const name = parent.text("name");
  if (!isFolderName(name)) parent.wrong("name", "the name of a folder");
  return { name, state: parent.integer("state", 0) };
}

function isFolderName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name);
}

function fileOf(file: Fields): FileIdentity {
  const changed = file.text("changed");
  if (!/^-?\d{1,20}$/.test(changed)) file.wrong("changed", "a time in nanoseconds");
  return {
    path: file.text("path"),
    size: file.integer("size", 0),
    changed,
    head: file.integer("head", 0),
  };
}

function parse(text: string, wrong: (what: string) => never): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return wrong(`it is not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An object whose fields have to be there, and of their kinds. */
class Fields {
  readonly #record: Readonly<Record<string, unknown>>;
  readonly #where: string;
  readonly #wrong: (what: string) => never;

  constructor(value: unknown, where: string, wrong: (what: string) => never) {
    if (!isRecord(value)) wrong(`${where} is not an object`);
    this.#record = isRecord(value) ? value : {};
    this.#where = where;
    this.#wrong = wrong;
  }

  get all(): Readonly<Record<string, unknown>> {
    return this.#record;
  }

  wrong(key: string, what: string): never {
    return this.#wrong(`"${key}" of ${this.#where} is not ${what}`);
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#record, key);
  }

  value(key: string): unknown {
    return this.has(key) ? this.#record[key] : this.#wrong(`"${key}" of ${this.#where} is missing`);
  }

  text(key: string): string {
    const value = this.value(key);
    return typeof value === "string" ? value : this.wrong(key, "a text");
  }

  integer(key: string, least: number): number {
    const value = this.value(key);
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= least) return value;
    return this.wrong(key, `a whole number from ${least} on`);
  }

  flag(key: string): boolean {
    const value = this.value(key);
    return typeof value === "boolean" ? value : this.wrong(key, "true or false");
  }

  fields(key: string): Fields {
    return new Fields(this.value(key), `"${key}"`, this.#wrong);
  }

  list(key: string): Fields[] {
    const value = this.value(key);
    if (!Array.isArray(value)) return this.wrong(key, "a list");
    return value.map((each, n) => new Fields(each, `"${key}[${n}]"`, this.#wrong));
  }
}
