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
import { type CpuState, readCpuStates, type SectionReader } from "./cpu-state.ts";
import { type KernelState, readKernelState } from "./kernel-state.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { examineRam } from "./ram-file.ts";
import { CLOCK_SECTION, MACHINE_SECTION, MEMORY_SECTION } from "./save.ts";
import { decodeSections, type Section } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";
import { MACHINE, overlayFile, RAM_FILE, STATE } from "./snapshot-folder.ts";

const MAX_MACHINE_BYTES = 16 * MIB;
const MAX_STATE_BYTES = GIB;

export class Snapshot {
  /** Absolute. */
  readonly path: string;
  readonly manifest: Manifest;
  readonly sections: ReadonlyMap<string, Section>;
  readonly cpus: readonly CpuState[];
  readonly kernel: KernelState;
  /** See Savable. */
  readonly monotonicNs: number;

  /** @throws {SnapshotError} that names a file of it and what is wrong */
  constructor(path: string) {
    this.path = resolve(path);
    const state = join(this.path, STATE);
    this.sections = decodeSections(readWhole(state, MAX_STATE_BYTES), state);
    const machine = join(this.path, MACHINE);
    const text = readWhole(machine, MAX_MACHINE_BYTES);
    const reader = sectionReader(this.sections, state);
    if (crc32(text) !== machineSum(reader)) {
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
    this.cpus = readCpuStates(reader);
    this.kernel = readKernelState(reader);
    const clock = reader.exactly(CLOCK_SECTION, 8);
    this.monotonicNs = Number(new DataView(clock.buffer, clock.byteOffset).getBigUint64(0, true));
  }

  get ramPath(): string {
    return join(this.path, RAM_FILE);
  }

  overlayPath(drive: number): string {
    return join(this.path, overlayFile(drive));
  }

  /** Its RAM: pages come when they are first touched, and what is written stays in memory. */
  mapRam(): GuestRam {
    const file = HostFile.open(this.ramPath, { readOnly: true });
    try {
      return GuestRam.mapFile(file, this.manifest.ram.size);
    } finally {
      file.close();
    }
  }

  /** What a memory of the board besides RAM holds. @throws {SnapshotError} if it is not in there, or of another size */
  boardMemory(name: string, size: number): Uint8Array {
    return sectionReader(this.sections, join(this.path, STATE)).exactly(`${MEMORY_SECTION}${name}`, size);
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

function sectionReader(sections: ReadonlyMap<string, Section>, path: string): SectionReader {
  const find = (name: string) => {
    const section = sections.get(name);
    if (section === undefined) throw new SnapshotError(path, `the section "${name}" is missing`);
    return section.bytes;
  };
  return {
    has: (name) => sections.has(name),
    exactly: (name, length) => {
      const bytes = find(name);
      if (bytes.length === length) return bytes;
      throw new SnapshotError(
        path,
        `the section "${name}" has ${bytes.length} bytes; ${length} are expected`,
      );
    },
    arrayOf: (name, unit) => {
      const bytes = find(name);
      if (bytes.length > 0 && bytes.length % unit === 0) return bytes;
      throw new SnapshotError(path, `the section "${name}" of ${bytes.length} bytes is not whole`);
    },
  };
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
