/** Saves a machine whose threads are parked. */
import { isNbdName } from "../nbd/address.ts";
import { type SnapshotFacts, saveSnapshot } from "../state/save.ts";
import { type Drives, driveName } from "./drives.ts";
import type { PowerCycle } from "./power-cycle.ts";
import { savedDrives, savedOptions } from "./saved-options.ts";
import type { CheckedOptions } from "./validate.ts";

export interface SnapshotOptions {
  /** The folder to make, or a snapshot to replace. */
  readonly dir: string;
}

/** A snapshot that was made. */
export interface SnapshotReport extends SnapshotFacts {
  /** How long the machine was paused for it. */
  readonly pauseMs: number;
}

/**
 * Everything that was written reaches stable storage first, so that the files of
 * drives are what the snapshot says of them.
 *
 * @param dir the folder to make, or a snapshot to replace
 * @throws {SnapshotError} for a machine that cannot be saved; {DriveError} for a disk that cannot be flushed
 */
export async function saveMachine(
  cycle: PowerCycle,
  options: CheckedOptions,
  drives: Drives,
  dir: string,
): Promise<SnapshotFacts> {
  const { name } = options;
  await flushDrives(cycle, options, drives);
  return saveSnapshot(dir, cycle.savable, {
    name,
    options: savedOptions(options),
    protocol: cycle.protocol,
    drives: savedDrives(options),
    overlays: drives.overlays,
  });
}

/** @throws {DriveError} for a disk that cannot be flushed */
export async function flushDrives(cycle: PowerCycle, options: CheckedOptions, drives: Drives): Promise<void> {
  for (const [n, { source, file = "" }] of options.drives.entries()) {
    if (source === undefined && !isNbdName(file)) await cycle.order(driveName(n), { kind: "flush" });
  }
  await drives.flushSources();
}
