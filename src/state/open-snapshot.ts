/**
 * Opens a snapshot: everything in its folder that can be checked without a
 * machine is checked here. Whoever uses what this returns need not doubt it,
 * except the contents of RAM, which `verifySnapshot` compares.
 *
 * A snapshot is untrusted input. Registers in it may have any values, as a guest
 * might have written them; KVM checks what it is given.
 */
import { readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { crc32 } from "node:zlib";
import { GIB, MIB } from "../base/units.ts";
import { HostFile } from "../sys/file.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { SectionReader } from "./cpu-state.ts";
import { MachineState, type SavedMachine, sectionReader } from "./machine-state.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { examineRam } from "./ram-file.ts";
import { MACHINE_SECTION } from "./save.ts";
import { decodeSections } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";
import { MACHINE, overlayFile, RAM_FILE, STATE } from "./snapshot-folder.ts";

const MAX_MACHINE_BYTES = 16 * MIB;
const MAX_STATE_BYTES = GIB;

export class Snapshot implements SavedMachine {
  /** Absolute. */
  readonly path: string;
  readonly manifest: Manifest;
  readonly state: MachineState;

  /** @throws {SnapshotError} that names a file of it and what is wrong */
  constructor(path: string) {
    this.path = resolve(path);
    const state = join(this.path, STATE);
    const sections = decodeSections(readWhole(state, MAX_STATE_BYTES), state);
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
  }

  get description(): Pick<Manifest, "spec" | "vmexit" | "protocol"> {
    return this.manifest;
  }

  get ramPath(): string {
    return join(this.path, RAM_FILE);
  }

  overlayPath(drive: number): string {
    return join(this.path, overlayFile(drive));
  }

  ram(): GuestRam {
    const file = HostFile.open(this.ramPath, { readOnly: true });
    try {
      return GuestRam.mapFile(file, this.manifest.ram.size);
    } finally {
      file.close();
    }
  }
}

/**
 * Checks all of a snapshot, which takes as long as reading its RAM.
 * @throws {SnapshotError} that names a file of it and what is wrong
 */
export async function verifySnapshot(path: string): Promise<Snapshot> {
  const snapshot = new Snapshot(path);
  const { ram } = snapshot.manifest;
  const found = await examineRam(snapshot.ramPath);
  if (found.crc32 !== ram.crc32 || found.pages !== ram.pages) {
    throw new SnapshotError(snapshot.ramPath, "its contents were altered");
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
