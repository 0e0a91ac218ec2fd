/**
 * Machines that are saved inside the qcow2 images of their drives, where QEMU has
 * its VM state: a snapshot of that name in each image that the guest writes to, and
 * the machine's state in the first. So disks and machine are of one moment.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DriveConfig } from "../config/devices/virtio-blk.ts";
import { applyDisk, copyVmState } from "../images/qcow2/load-vm-state.ts";
import { openQcow2 } from "../images/qcow2/open.ts";
import { isNbdName } from "../nbd/address.ts";
import { Snapshot } from "../state/open-snapshot.ts";
import { packSnapshot, unpackSnapshot } from "../state/packed-snapshot.ts";
import type { SnapshotFacts } from "../state/save.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { type Drives, driveName } from "./drives.ts";
import type { PowerCycle } from "./power-cycle.ts";
import { MachineSave } from "./save-machine.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {SnapshotError} for drives that have no room for it; {DriveError} for an image that is in the way */
export async function saveInDisks(
  cycle: PowerCycle,
  options: CheckedOptions,
  drives: Drives,
  name: string,
): Promise<SnapshotFacts> {
  const images = imagesOf(options.drives, `snapshot ${JSON.stringify(name)}`);
  const [{ file: first }] = images;
  return inScratch(first, async (scratch) => {
    const save = new MachineSave(cycle, options, drives, join(scratch, "snapshot"));
    await save.copyRest(undefined);
    const { dir, ramBytes } = await save.commit();
    const path = join(scratch, "state");
    packSnapshot(dir, path);
    const made: string[] = [];
    try {
      for (const { n } of images) {
        const state = made.length === 0 ? { path, clockNs: cycle.savable.monotonicNs } : undefined;
        const part = driveName(options.drives[n], n);
        await cycle.order(part, { kind: "create-snapshot", name, state });
        made.push(part);
      }
    } catch (error) {
      for (const drive of made) await cycle.order(drive, { kind: "delete-snapshot", name });
      throw error;
    }
    return { dir: first, ramBytes, parent: undefined };
  });
}

/**
 * Makes the disks what they were, and calls `use` with the folder of a snapshot, which is deleted afterwards.
 * @throws {SnapshotError} for drives without such a snapshot; {ImageError | SystemError}
 */
export async function loadFromDisks<T>(
  name: string,
  drives: readonly DriveConfig[],
  use: (dir: string) => Promise<T>,
): Promise<T> {
  const shown = `snapshot ${JSON.stringify(name)}`;
  const [first, ...others] = imagesOf(drives, shown);
  return inScratch(first.file, async (scratch) => {
    const state = join(scratch, "state");
    copyState(first, name, state);
    const dir = join(scratch, "snapshot");
    mkdirSync(dir);
    unpackSnapshot(state, dir, `${first.file}: ${shown}`);
    rmSync(state);
    // What can be checked is checked before the disks change.
    new Snapshot(dir);
    for (const { file, config } of [first, ...others]) {
      using image = openQcow2(file, config);
      applyDisk(image, name);
    }
    return use(dir);
  });
}

function copyState({ file, config }: DriveImage, name: string, path: string): void {
  using image = openQcow2(file, { ...config, readOnly: true, snapshot: name });
  copyVmState(image, name, path);
}

interface DriveImage {
  readonly n: number;
  readonly file: string;
  readonly config: Pick<DriveConfig, "otherFiles">;
}

/** Those that the guest writes to. */
function imagesOf(drives: readonly DriveConfig[], shown: string): [DriveImage, ...DriveImage[]] {
  const written = drives.flatMap(({ file, source, format, readOnly, snapshot, otherFiles }, n) => {
    if (readOnly || snapshot) return [];
    if (source !== undefined || file === undefined || isNbdName(file) || format !== "qcow2") {
      throw new SnapshotError(shown, `drives[${n}] is not in a qcow2 image, and the guest writes to it`);
    }
    return [{ n, file, config: { otherFiles } }];
  });
  const [first, ...others] = written;
  if (first !== undefined) return [first, ...others];
  throw new SnapshotError(shown, "there is no drive in a qcow2 image that the guest writes to");
}

/** Beside the image, where there is as much room as the image will need. */
async function inScratch<T>(file: string, work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(dirname(file), ".vmexit-state-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
