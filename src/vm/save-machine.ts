/**
 * Saves a machine: all of it while its threads are parked, or its RAM while it
 * runs and the rest in a pause.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { crc32 } from "node:zlib";
import { isNbdName } from "../nbd/address.ts";
import type { ParentSnapshot } from "../state/manifest.ts";
import { type SnapshotFacts, SnapshotWriter, type WrittenSnapshot } from "../state/save.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { STATE } from "../state/snapshot-folder.ts";
import type { DirtyReader } from "./dirty-log.ts";
import { type Drives, driveName } from "./drives.ts";
import type { PowerCycle } from "./power-cycle.ts";
import { savedDrives, savedOptions } from "./saved-options.ts";
import type { CheckedOptions } from "./validate.ts";
import { StateError } from "./vm-error.ts";

export interface SnapshotOptions {
  /**
   * The folder to make, or a snapshot to replace; or "disk:NAME": a snapshot in the qcow2 images of the drives,
   * of disks and machine together.
   */
  readonly dir: string;
  /** False: a running machine runs on while its RAM is copied, and is paused only for the rest. Default true. */
  readonly stop?: boolean;
  /**
   * Only the pages that were written since the last snapshot with this option, which it continues: both are
   * needed to restore it. The first is whole. From then on KVM logs which pages the guest writes.
   */
  readonly diff?: boolean;
}

/** A snapshot that was made. */
export interface SnapshotReport extends SnapshotFacts {
  /** How long the machine was paused for it. */
  readonly pauseMs: number;
}

/** Rounds in which RAM is copied while the machine runs: each copies what was written during the one before. */
const ROUNDS = 8;
/** Pages that are left for the pause: 2 MiB take about a millisecond. */
const FEW_PAGES = 512;

/** What a machine wrote since the snapshot that the next one may continue. */
export class Written {
  readonly #reader: DirtyReader;
  #since: Uint32Array | undefined;
  /** The snapshots that the next one continues, the whole one first. */
  #chain: readonly WrittenSnapshot[] = [];

  constructor(cycle: PowerCycle) {
    this.#reader = cycle.pages.open();
    this.#reader.take();
  }

  /** All of it. A bit a page. */
  get since(): Uint32Array {
    return this.#since ?? this.take();
  }

  /** What was written since the last call. */
  take(): Uint32Array {
    const pages = this.#reader.take();
    this.#since ??= new Uint32Array(pages.length);
    add(this.#since, pages);
    return pages;
  }

  /** A snapshot has all of it. */
  settle(made: WrittenSnapshot): void {
    this.#since = undefined;
    this.#chain = made.parent === undefined ? [made] : [...this.#chain, made];
  }

  /**
   * The parent of a snapshot at `dir`; undefined if it will be whole.
   * @throws {SnapshotError} if it could not be restored later
   */
  parentOf(dir: string): ParentSnapshot | undefined {
    const parent = this.#chain.at(-1);
    if (parent === undefined) return undefined;
    const place = resolve(dir);
    if (this.#chain.some((each) => each.dir === place)) {
      throw new SnapshotError(place, "it would replace a snapshot that it continues");
    }
    const beside = dirname(parent.dir);
    if (dirname(place) !== beside) {
      throw new SnapshotError(place, `it continues ${parent.dir}, so it has to be beside it, in ${beside}`);
    }
    for (const { dir: needed, state } of this.#chain) {
      if (sumOf(join(needed, STATE)) === state) continue;
      throw new SnapshotError(needed, `${place} cannot continue it: it was deleted or replaced`);
    }
    return { name: basename(parent.dir), state: parent.state };
  }

  close(): void {
    this.#reader.close();
  }
}

export class MachineSave {
  readonly #cycle: PowerCycle;
  readonly #options: CheckedOptions;
  readonly #drives: Drives;
  readonly #writer: SnapshotWriter;
  /** The pages that the snapshot has to have, if not all. */
  readonly #written: Written | undefined;
  readonly #isWhole: boolean;
  /** Pages to copy in the pause; undefined: all. */
  #rest: Uint32Array | undefined;

  /**
   * @param written since the last snapshot, if the next one may continue this one
   * @throws {SnapshotError} for a place where something else is, or from which the parent is not found
   */
  constructor(cycle: PowerCycle, options: CheckedOptions, drives: Drives, dir: string, written?: Written) {
    this.#cycle = cycle;
    this.#options = options;
    this.#drives = drives;
    this.#written = written;
    const parent = written?.parentOf(dir);
    this.#isWhole = parent === undefined;
    this.#writer = new SnapshotWriter(dir, parent);
  }

  /** Copies RAM while the machine runs, until little is left. @param written is taken from */
  async copyMeanwhile(written: Written): Promise<void> {
    const cycle = this.#cycle;
    await flushDrives(cycle, this.#options, this.#drives); // so that there is less to flush in the pause
    const copy = this.#writer.ramCopy(cycle.savable);
    const turn = () => {
      if (cycle.isCut) throw new StateError(`snapshot(): ${this.#options.name} was stopped`);
    };
    if (this.#isWhole) await copy.copyContents(turn);
    else await copy.copyPages(written.since, turn);
    let pages = written.take();
    for (let round = 0; round < ROUNDS && countOf(pages) > FEW_PAGES; round++) {
      await copy.copyPages(pages, turn);
      pages = written.take();
    }
    this.#rest = pages.slice();
  }

  /**
   * Copies what is left, while all threads are parked. Everything that was written to disks reaches stable
   * storage first, so that the files of drives are what the snapshot says of them.
   *
   * @param written as above, if RAM was copied meanwhile
   * @throws {SnapshotError} for a machine that cannot be saved; {DriveError} for a disk that cannot be flushed
   */
  async copyRest(written: Written | undefined): Promise<void> {
    const cycle = this.#cycle;
    const options = this.#options;
    const drives = this.#drives;
    await flushDrives(cycle, options, drives);
    const { savable } = cycle;
    const copy = this.#writer.ramCopy(savable);
    const fresh = (written ?? this.#written)?.take();
    const rest = this.#rest;
    if (rest !== undefined && fresh !== undefined) add(rest, fresh);
    const pages = rest ?? (this.#isWhole ? undefined : this.#written?.since);
    if (pages === undefined) await copy.copyContents(() => {});
    else await copy.copyPages(pages, () => {});
    const described = {
      name: options.name,
      options: savedOptions(options),
      protocol: cycle.protocol,
      drives: savedDrives(options),
      overlays: drives.overlays,
    };
    this.#writer.takeState(savable, described, this.#isWhole ? undefined : this.#written?.since);
  }

  /** Puts the snapshot in its place, when the machine may run again. */
  async commit(): Promise<SnapshotFacts> {
    const made = await this.#writer.commit();
    this.#written?.settle(made);
    const { state: _, ...facts } = made;
    return facts;
  }

  abandon(): void {
    this.#writer.abandon();
  }
}

/** @throws {DriveError} for a disk that cannot be flushed */
export async function flushDrives(cycle: PowerCycle, options: CheckedOptions, drives: Drives): Promise<void> {
  for (const [n, drive] of options.drives.entries()) {
    const { source, file = "" } = drive;
    if (source === undefined && !isNbdName(file)) await cycle.order(driveName(drive, n), { kind: "flush" });
  }
  await drives.flushSources();
}

/** CRC-32 of a file; undefined if it cannot be read. */
function sumOf(path: string): number | undefined {
  try {
    return crc32(readFileSync(path));
  } catch {
    return undefined;
  }
}

function add(to: Uint32Array, pages: Uint32Array): void {
  for (let n = 0; n < pages.length; n++) to[n] |= pages[n];
}

function countOf(pages: Uint32Array): number {
  let count = 0;
  for (const word of pages) for (let left = word; left !== 0; left &= left - 1) count++;
  return count;
}
