/** Machines that continue from a snapshot. */
import { copyFileSync } from "node:fs";
import { GIB, PAGE } from "../base/units.ts";
import { scsiPlaceOf } from "../config/devices/scsi-drive.ts";
import { cardKind } from "../config/devices/virtio-net.ts";
import type { VmOptions } from "../config/machine.ts";
import { FIRMWARE, flashMemory } from "../machine/pc-memories.ts";
import { differenceOf, identify } from "../state/drive-identity.ts";
import type { SavedDrive } from "../state/manifest.ts";
import { Snapshot, verifySnapshot } from "../state/open-snapshot.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { loadExtras } from "./load-extras.ts";
import { openMachine } from "./open-machine.ts";
import { FIRMWARE_PROTOCOL } from "./power-on.ts";
import { readSavedOptions } from "./saved-options.ts";
import { nameInDisks } from "./saves.ts";
import { type ClockPolicy, type CpuPolicy, StateOrigin } from "./state-origin.ts";
import { type CheckedOptions, checkOptions } from "./validate.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/**
 * What a snapshot does not contain. Files that it names are not opened: a snapshot
 * may come from anywhere, and what is given here decides. What it does contain,
 * such as memory, may be left out; if it is given, it has to be the same.
 */
export interface RestoreOptions
  extends Omit<VmOptions, "kernel" | "memoryBacking" | "hugePages" | "prealloc" | "cpu"> {
  /** For a reset of the guest, as are `loadAddress`, `initrd` and `cmdline`. Without it, that ends the machine. */
  readonly kernel?: VmOptions["kernel"];
  /** "same" (the default): a drive's file must be as it was; "any": whoever restores knows better. */
  readonly driveFiles?: "same" | "any";
  /** "same" (the default): the host must have what the guest was shown of its CPU; "any": it may differ. */
  readonly cpu?: CpuPolicy;
  /**
   * "continue" (the default): the guest's clocks (TSC, kvmclock, the ACPI timer) go on from where they were. "advance":
   * they show the time that has passed since then too, so that the guest's time of day is right.
   */
  readonly clock?: ClockPolicy;
  /** Compares RAM with its checksum first, which takes as long as reading it. */
  readonly verify?: boolean;
  /**
   * Reads the pages first that the guest is going to need. Which these are is recorded with the first machine
   * that is restored with this option, in the snapshot's folder.
   */
  readonly prefetch?: boolean;
  /** A machine with one network card, an e1000, gets a user network, if `network` is left out. */
  readonly defaultNetwork?: boolean;
}

/**
 * Makes the machine of a snapshot, paused where it was saved: `resume` lets it
 * continue. Its RAM is the snapshot's file, of which pages come when they are
 * first touched; the snapshot does not change, and may be restored any number of times.
 *
 * @param dir the folder; or "disk:NAME", a snapshot in the qcow2 images of `drives`, which become what they were
 *
 * @throws {SnapshotError} for a snapshot that was altered, or does not fit this host, these drives or
 *   this version; {OptionError}, {SystemError}, {ImageError} and {NbdError} as createVm.
 */
export async function restoreVm(dir: string, options: RestoreOptions = {}): Promise<VirtualMachine> {
  const name = nameInDisks(dir);
  if (name === undefined) return restoreFrom(dir, options);
  const { loadFromDisks } = await import("./disk-snapshots.ts");
  const { drives } = checkOptions({ kernel: "", drives: options.drives ?? [] });
  // The images differ from what they were in that they have the snapshot. The folder is there for a moment only.
  const how = { ...options, driveFiles: "any", prefetch: false } as const;
  return loadFromDisks(name, drives, (folder) => restoreFrom(folder, how));
}

async function restoreFrom(dir: string, options: RestoreOptions): Promise<VirtualMachine> {
  const { driveFiles = "same", cpu = "same", clock = "continue", ...others } = options;
  const { verify = false, prefetch = false, defaultNetwork = false, kernel, ...more } = others;
  const snapshot = verify ? await verifySnapshot(dir) : new Snapshot(dir);
  const { manifest, description } = snapshot;
  const hasFirmware = description.protocol === FIRMWARE_PROTOCOL;
  const checked = await loadExtras(
    checkOptions({
      ...BEFORE_THERE_WERE_ANY,
      ...readSavedOptions(snapshot),
      ...savedFirmware(snapshot, more),
      name: manifest.name,
      ...more,
      ...(more.drives === undefined ? {} : { drives: placedAsSaved(more.drives, manifest.drives) }),
      ...networkOptions(more.network, cardKinds(description.spec), defaultNetwork),
      ...(kernel === undefined && hasFirmware ? {} : { kernel: kernel ?? new Uint8Array() }),
      ...(kernel === undefined && !hasFirmware ? { onReset: "exit" } : {}),
    }),
  );
  checkDrives(snapshot, checked, driveFiles);
  checkCards(snapshot, checked);
  const ahead = prefetch ? new (await import("./prefetch.ts")).Prefetch(snapshot) : undefined;
  const vm = await openMachine(checked, (start, drives) => {
    drives.overlays.forEach((path, n) => {
      if (path !== undefined) copyFileSync(snapshot.overlayPath(n), path);
    });
    return {
      ...start,
      userFilesBytes: userFilesRoom(snapshot),
      saved: new StateOrigin(ahead?.saved ?? snapshot, cpu, clock, checked.cpuChoice),
    };
  });
  try {
    await ahead?.begin(vm);
    return vm;
  } catch (error) {
    await vm.stop();
    throw error;
  }
}

/**
 * The firmware that the machine has, for a reset of the guest, unless other firmware is given.
 * @throws {SnapshotError} for flash chips, which are files as drives are
 */
function savedFirmware({ path, state }: Snapshot, given: RestoreOptions): Pick<VmOptions, "firmware"> {
  if (given.firmware !== undefined || (given.flash ?? []).length > 0) return {};
  if (state.memory(flashMemory(0)) !== undefined) {
    throw new SnapshotError(
      path,
      "its firmware is in flash chips: give their files again (flash, -drive if=pflash)",
    );
  }
  const firmware = state.memory(FIRMWARE);
  return firmware === undefined ? {} : { firmware };
}

/** A drive is on the interface that it was on, unless the options say otherwise. */
function placedAsSaved(drives: NonNullable<VmOptions["drives"]>, saved: readonly SavedDrive[]): object[] {
  return drives.map((drive, n) => ({
    ...(saved[n]?.name.startsWith("ide") ? { interface: "ide" as const } : {}),
    ...scsiPlaceOf(saved[n]?.name ?? ""),
    ...drive,
  }));
}

/** Of files in fw_cfg: more than any machine can have. */
const MOST_ROOM = GIB;

/** The network cards of a saved machine. */
function cardKinds(spec: unknown): unknown[] {
  const { devices } = Object(spec);
  const kinds = Array.isArray(devices) ? devices.map((device) => Object(device).kind) : [];
  return kinds.filter((kind) => kind === "virtio-net" || kind === "e1000");
}

/** A card is the one that it was, unless the options say otherwise. */
function networkOptions(
  given: VmOptions["network"],
  saved: readonly unknown[],
  defaultNetwork: boolean,
): Pick<VmOptions, "network"> {
  const isDefault = defaultNetwork && saved.length === 1 && saved[0] === "e1000";
  if (given === undefined) return isDefault ? { network: [{ model: "e1000", user: {} }] } : {};
  const model = (n: number) => (saved[n] === "e1000" ? ({ model: "e1000" } as const) : {});
  return { network: given.map((card, n) => ({ ...model(n), ...card })) };
}

/** What machines in the oldest snapshots do not have. */
const BEFORE_THERE_WERE_ANY = { pit: false, generationId: false };

/** What files of the owner take in fw_cfg. @throws {SnapshotError} for what is not a size */
function userFilesRoom({ path, description }: Snapshot): number {
  const bytes: unknown = Reflect.get(Object(description.spec), "userFilesBytes") ?? 0;
  if (typeof bytes === "number" && bytes >= 0 && bytes <= MOST_ROOM && bytes % PAGE === 0) return bytes;
  throw new SnapshotError(path, `spec.userFilesBytes is ${JSON.stringify(bytes)}, which is not a size`);
}

/** What a card is connected to is not in a snapshot. */
function checkCards({ path, description }: Snapshot, { network }: CheckedOptions): void {
  const cards = cardKinds(description.spec);
  const other = network.findIndex((card, n) => cards[n] !== undefined && cards[n] !== cardKind(card));
  if (other >= 0) {
    const { model } = network[other];
    throw new SnapshotError(path, `network[${other}].model: "${model}" is not the card that was saved`);
  }
  if (cards.length === network.length) return;
  throw new SnapshotError(
    path,
    `its machine has ${cards.length} network cards, and ${network.length} are given: what each is connected to, in the same order`,
  );
}

function checkDrives({ path, manifest }: Snapshot, { drives }: CheckedOptions, files: "same" | "any"): void {
  const { drives: saved } = manifest;
  if (drives.length !== saved.length) {
    const names = saved
      .map(({ name, file }) => `${name} (${file?.path ?? "of the program's own"})`)
      .join(", ");
    throw new SnapshotError(
      path,
      `its machine has ${saved.length} drives, and ${drives.length} are given: ${names || "leave out drives"}`,
    );
  }
  saved.forEach(({ name, file: then, overlay }, n) => {
    const { file: now, snapshot } = drives[n];
    if (overlay !== snapshot) {
      const how = overlay ? "what it wrote is in the snapshot" : "it wrote to the file itself";
      throw new SnapshotError(path, `${name}: give it snapshot: ${overlay}, for ${how}`);
    }
    if (files === "any" || then === undefined || now === undefined) return;
    const difference = differenceOf(then, identify(now));
    if (difference === undefined) return;
    throw new SnapshotError(
      path,
      `${name}: ${now} is not as it was when the machine was saved: ${difference}. A guest that continues would destroy its file system; if you know better, give driveFiles: "any"`,
    );
  });
}
