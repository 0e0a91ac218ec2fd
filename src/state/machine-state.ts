/** All of a machine's state but RAM, as sections whose presence and sizes were checked. */
import { RAM } from "../machine/kernel-wishes.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { type CpuState, readCpuStates, type SectionReader } from "./cpu-state.ts";
import { type KernelState, readKernelState } from "./kernel-state.ts";
import type { Manifest } from "./manifest.ts";
import { CLOCK_SECTION, MEMORY_SECTION, type Savable, stateSections } from "./save.ts";
import type { Section } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";

/** What a machine can continue from: a snapshot, or a machine that is forked. */
export interface SavedMachine {
  /** Names it in messages. */
  readonly path: string;
  readonly description: Pick<Manifest, "spec" | "vmexit" | "protocol" | "time">;
  readonly state: MachineState;
  /** Its RAM: pages come when they are first touched, and what is written stays with the one who writes. */
  ram(): GuestRam;
}

export class MachineState {
  readonly sections: ReadonlyMap<string, Section>;
  readonly cpus: readonly CpuState[];
  readonly kernel: KernelState;
  /** See Savable. */
  readonly monotonicNs: number;
  readonly #reader: SectionReader;

  /** @throws {SnapshotError} for a section that is missing or of another size */
  constructor(sections: ReadonlyMap<string, Section>, path: string) {
    this.sections = sections;
    this.#reader = sectionReader(sections, path);
    this.cpus = readCpuStates(this.#reader);
    this.kernel = readKernelState(this.#reader);
    const clock = this.#reader.exactly(CLOCK_SECTION, 8);
    this.monotonicNs = Number(new DataView(clock.buffer, clock.byteOffset).getBigUint64(0, true));
  }

  /** That of a machine in which nothing moves. @throws {SnapshotError} for a machine that cannot be saved */
  static of(from: Savable, path: string): MachineState {
    const sections = stateSections(from, path);
    return new MachineState(new Map(sections.map((section) => [section.name, section])), path);
  }

  /** The contents of a memory of the board besides RAM; undefined if the machine did not have it. */
  memory(name: string): Uint8Array | undefined {
    return this.sections.get(`${MEMORY_SECTION}${name}`)?.bytes;
  }

  /**
   * Fills the memories of a board besides RAM.
   * @throws {SnapshotError} for one that is not in there, or of another size
   */
  fillBoard(memories: Savable["memories"]): void {
    for (const [name, memory] of memories) {
      if (name === RAM) continue;
      const bytes = this.#reader.exactly(`${MEMORY_SECTION}${name}`, memory.size);
      new Uint8Array(memory.map(0, memory.size)).set(bytes);
    }
  }
}

export function sectionReader(sections: ReadonlyMap<string, Section>, path: string): SectionReader {
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
