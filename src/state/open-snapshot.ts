/**
 * Opens a snapshot: everything in its folder that can be checked without a
 * machine is checked here. Whoever uses what this returns need not doubt it,
 * except the contents of RAM, which `verifySnapshot` compares.
 *
 * A snapshot is untrusted input. Registers in it may have any values, as a guest
 * might have written them; KVM checks what it is given.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { crc32 } from "node:zlib";
import { GIB, MIB } from "../base/units.ts";
import { HostFile } from "../sys/file.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { SectionReader } from "./cpu-state.ts";
import { MachineState, type SavedMachine, sectionReader } from "./machine-state.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { decodeRuns, type PageRun } from "./page-runs.ts";
import { examineRam, loadPages } from "./ram-file.ts";
import { MACHINE_SECTION, PAGES_SECTION } from "./save.ts";
import { decodeSections } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";
import { MACHINE, overlayFile, RAM_FILE, STATE } from "./snapshot-folder.ts";

const MAX_MACHINE_BYTES = 16 * MIB;
const MAX_STATE_BYTES = GIB;
const MAX_CHAIN = 256;

/** A snapshot whose parent is opened. */
interface Child {
  readonly path: string;
  /** CRC-32 of its parent's `state`. */
  readonly sum: number;
  /** Snapshots in the chain, its parent included. */
  readonly length: number;
}

export class Snapshot implements SavedMachine {
  /** Absolute. */
  readonly path: string;
  readonly manifest: Manifest;
  readonly state: MachineState;
  /** The snapshot that it continues. */
  readonly parent: Snapshot | undefined;
  /** Pages that its `ram` has, if it continues another. */
  readonly pages: readonly PageRun[] | undefined;

  /**
   * @param child the snapshot that continues it, if it is opened for one
   * @throws {SnapshotError} that names a file of it, or of one that it continues, and what is wrong
   */
  constructor(path: string, child?: Child) {
    this.path = resolve(path);
    const state = join(this.path, STATE);
    const bytes = readWhole(state, MAX_STATE_BYTES);
    if (child !== undefined) checkParent(state, crc32(bytes), child);
    const sections = decodeSections(bytes, state);
    const machine = join(this.path, MACHINE);
    const text = readWhole(machine, MAX_MACHINE_BYTES);
    if (crc32(text) !== machineSum(sectionReader(sections, state))) {
      throw new SnapshotError(machine, `it was altered, or belongs to another snapshot than ${state}`);
    }
    this.manifest = parseManifest(Buffer.from(text).toString(), machine);
    const { ram } = this.manifest;
    const size = sizeOf(this.ramPath);
    if (size !== ram.size) {
      throw new SnapshotError(
        this.ramPath,
        `it has ${size} bytes, and had ${ram.size}: it was cut short or altered`,
      );
    }
    this.state = new MachineState(sections, state);
    if (this.manifest.parent === undefined) return;
    const list = sections.get(PAGES_SECTION);
    if (list === undefined) throw new SnapshotError(state, `the section "${PAGES_SECTION}" is missing`);
    this.pages = decodeRuns(list.bytes, ram.size, state);
    const { name, state: sum } = this.manifest.parent;
    const parent = join(dirname(this.path), name);
    this.parent = new Snapshot(parent, { path: this.path, sum, length: (child?.length ?? 1) + 1 });
    if (this.parent.manifest.ram.size === ram.size) return;
    throw new SnapshotError(parent, `its RAM has another size than that of ${this.path}, which continues it`);
  }

  get description(): SavedMachine["description"] {
    return this.manifest;
  }

  get ramPath(): string {
    return join(this.path, RAM_FILE);
  }

  overlayPath(drive: number): string {
    return join(this.path, overlayFile(drive));
  }

  ram(): GuestRam {
    const { parent, pages } = this;
    if (parent === undefined || pages === undefined) return this.#map();
    const ram = parent.ram();
    try {
      loadPages(this.ramPath, pages, ram);
      return ram;
    } catch (error) {
      ram.close();
      throw error;
    }
  }

  #map(): GuestRam {
    const file = HostFile.open(this.ramPath, { readOnly: true });
    try {
      return GuestRam.mapFile(file, this.manifest.ram.size);
    } finally {
      file.close();
    }
  }
}

function checkParent(path: string, sum: number, child: Child): void {
  if (sum !== child.sum) {
    throw new SnapshotError(
      path,
      `it is not the snapshot that ${child.path} continues: it was replaced or altered`,
    );
  }
  if (child.length > MAX_CHAIN) throw new SnapshotError(path, `a chain has at most ${MAX_CHAIN} snapshots`);
}

/**
 * Checks all of a snapshot and of those that it continues, which takes as long as reading their RAM.
 * @throws {SnapshotError} that names a file of it and what is wrong
 */
export async function verifySnapshot(path: string): Promise<Snapshot> {
  const snapshot = new Snapshot(path);
  for (let each: Snapshot | undefined = snapshot; each !== undefined; each = each.parent) {
    const { ram } = each.manifest;
    const found = await examineRam(each.ramPath, each.pages);
    if (found.crc32 !== ram.crc32 || found.pages !== ram.pages) {
      throw new SnapshotError(each.ramPath, "its contents were altered");
    }
  }
  return snapshot;
}

function machineSum(reader: SectionReader): number {
  const bytes = reader.exactly(MACHINE_SECTION, 4);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

function sizeOf(path: string): number {
  return found(path, () => statSync(path).size);
}

function readWhole(path: string, most: number): Uint8Array {
  const size = sizeOf(path);
  if (size > most) throw new SnapshotError(path, `${size} bytes are more than it can have`);
  return found(path, () => readFileSync(path));
}

function found<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new SnapshotError(path, `it cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}
