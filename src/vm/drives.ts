/**
 * The drives of a machine, from its creation to its end. Files of images are
 * opened once. Each power cycle reads the facts of the images anew and completes
 * the spec with them. What must outlive a reset is kept here.
 */
import { OptionError } from "../base/errors.ts";
import { ideName } from "../config/devices/ide-drive.ts";
import { scsiName } from "../config/devices/scsi-drive.ts";
import type { DriveConfig } from "../config/devices/virtio-blk.ts";
import type { DiskFacts } from "../disk/disk-facts.ts";
import { type DiskSource, sourceFacts } from "../disk/disk-source.ts";
import { type DriveImage, describeDrive } from "../images/drive.ts";
import { KeptFiles } from "../images/files.ts";
import { ForeignFormatError } from "../images/foreign-formats.ts";
import { type ImageFormat, isReadOnlyFormat } from "../images/formats.ts";
import { probeFormat } from "../images/open-image.ts";
import { TemporaryOverlay } from "../images/temporary-overlay.ts";
import type { DeviceSpec } from "../machine/spec.ts";
import { isNbdName } from "../nbd/address.ts";
import type { DriveStorage } from "../threads/shared.ts";
import type { ProgramDiskPort } from "./program-disks.ts";

/** The format is known. */
interface DriveOptions extends DriveConfig {
  readonly format: ImageFormat | undefined;
}

/** One drive, and what stays open until its medium is changed or the machine ends. */
interface Drive {
  readonly options: DriveOptions;
  /** Of its image, opened once. */
  readonly files: KeptFiles;
  readonly overlay?: TemporaryOverlay;
  /** In place of a file: a disk of the program, or an NBD export. */
  readonly source?: DiskSource;
}

/** Requests that the io thread may have in flight to a disk of the program: 256 in each queue. */
const TAGS_PER_QUEUE = 256;

/** Makes the port of a source for one power cycle. */
export type PlugSource = (part: string, source: DiskSource, tags: number) => ProgramDiskPort;

/** The name of the part that is drive `n`. */
export function driveName(drive: DriveConfig, n: number): string {
  if (drive.interface === "scsi") return scsiName(drive);
  return drive.interface === "ide" ? ideName(drive) : `virtio-blk${n}`;
}

/** A medium that is not in its drive yet. */
export interface NextMedium {
  /** Undefined for none. */
  readonly image: DriveImage | undefined;
  /** The drive has it. */
  accept(): void;
  /** The drive does not take it. */
  close(): void;
}

export class Drives {
  /** What was asked for, with the media that are in the drives now. */
  readonly options: DriveConfig[] = [];
  /** Names of CD drives whose tray is open when the next power cycle begins. */
  openTrays: readonly string[] = [];
  readonly #drives: Drive[] = [];

  private constructor() {}

  /**
   * Opens what stays open for as long as the machine exists.
   * @throws {SystemError} for a file that cannot be opened; {ImageError} for an image that cannot be used;
   *   {NbdError} for an export that is not there
   */
  static async open(options: readonly DriveConfig[]): Promise<Drives> {
    const drives = new Drives();
    try {
      for (const [n, drive] of options.entries()) {
        drives.#drives.push(await openDrive(drive, n));
        drives.options.push(drive);
      }
      return drives;
    } catch (error) {
      drives.close();
      throw error;
    }
  }

  /** The drives as parts of the machine. @throws as `open`: an image may have changed since */
  get devices(): DeviceSpec[] {
    return this.#drives.map((drive, n) => {
      const { readOnly } = drive.options;
      const facts =
        drive.source === undefined
          ? { ...describeDrive(imageOf(drive), drive.files), readOnly }
          : readOnlyIf(readOnly, sourceFacts(drive.source));
      const { options } = drive;
      const config = { ...options, source: undefined, ...facts };
      const name = driveName(options, n);
      if (options.interface === "virtio") return { kind: "virtio-blk", name, config };
      const { interface: bus, media, index = 0, controller = 0, target = 0, lun = 0 } = options;
      const place =
        bus === "scsi"
          ? { bus: `virtio-scsi${controller}`, unit: target, lun }
          : { bus: `ide.${index >> 1}`, unit: index & 1 };
      if (media !== "cdrom") return { kind: `${bus}-hd`, name, config, place };
      const tray = this.openTrays.includes(name) ? { trayOpen: true } : {};
      return { kind: `${bus}-cd`, name, config: { ...config, ...tray }, place };
    });
  }

  /** What the io thread reads and writes in one power cycle, by part. */
  serve(plug: PlugSource): { storage: Map<string, DriveStorage>; ports: Map<string, ProgramDiskPort> } {
    const storage = new Map<string, DriveStorage>();
    const ports = new Map<string, ProgramDiskPort>();
    for (const [n, drive] of this.#drives.entries()) {
      const { source, options } = drive;
      const name = driveName(options, n);
      if (source === undefined) {
        storage.set(name, { kind: "image", image: { ...imageOf(drive), files: drive.files.found } });
        continue;
      }
      const port = plug(name, source, options.queues * TAGS_PER_QUEUE);
      ports.set(name, port);
      storage.set(name, { kind: "program", program: port.data, discards: options.discard === "unmap" });
    }
    return { storage, ports };
  }

  /**
   * Opens another medium for drive `n`, or makes it empty.
   * @throws {OptionError} for a format that is not supported; {SystemError | ImageError} for one that cannot be used
   */
  nextMedium(n: number, file: string | undefined, format: DriveConfig["format"]): NextMedium {
    const { options: asked } = this.#drives[n];
    const options = {
      ...asked,
      file,
      snapshot: false,
      format: chosenFormat(file ?? "", format, `drives[${n}]`),
    };
    const next = { options, files: new KeptFiles() };
    try {
      describeDrive(imageOf(next), next.files);
    } catch (error) {
      next.files.close();
      throw error;
    }
    return {
      image: file === undefined ? undefined : { ...imageOf(next), files: next.files.found },
      accept: () => {
        const { files, overlay } = this.#drives[n];
        this.#drives[n] = next;
        this.options[n] = options;
        files.close();
        overlay?.close();
      },
      close: () => next.files.close(),
    };
  }

  /** By drive: the file that contains the guest's writes, if that is not the image itself. */
  get overlays(): (string | undefined)[] {
    return this.#drives.map(({ overlay }) => overlay?.path);
  }

  /** Flushes the disks of the program to stable storage; the io thread flushes images. */
  async flushSources(): Promise<void> {
    await Promise.all(this.#drives.map(async ({ source }) => source?.flush?.()));
  }

  /** Closes the disks, when no thread uses them any more. Errors are ignored: nobody could handle them. */
  close(): void {
    for (const { overlay, source, files } of this.#drives) {
      files.close();
      overlay?.close();
      void (async () => source?.close?.())().catch(() => {});
    }
    this.#drives.length = 0;
  }
}

function readOnlyIf(readOnly: boolean, facts: DiskFacts): DiskFacts {
  return { ...facts, readOnly: readOnly || facts.readOnly };
}

async function openDrive(given: DriveConfig, n: number): Promise<Drive> {
  const { file = "", source, snapshot } = given;
  const options = { ...given, format: chosenFormat(file, given.format, `drives[${n}].file`) };
  const files = new KeptFiles();
  if (source !== undefined) return { options, files, source };
  if (isNbdName(file)) {
    // Loaded only here: most machines have no network disk, and start sooner without this module.
    const { connectNbd } = await import("../nbd/connect.ts");
    return { options, files, source: await connectNbd(file, { reconnectDelayMs: RECONNECT_MS }) };
  }
  const drive = { options, files };
  if (!snapshot || file === "") return drive;
  try {
    // The image is opened as it will be used: to be read.
    const { size } = describeDrive(imageOf({ ...drive, options: { ...options, readOnly: true } }), files);
    return { ...drive, overlay: new TemporaryOverlay(size) };
  } catch (error) {
    files.close();
    throw error;
  }
}

/** How long a guest's requests wait for a server to come back. */
const RECONNECT_MS = 10_000;

function imageOf({ options, overlay }: Drive): Omit<DriveImage, "files"> {
  const { file = "", format = "raw" } = options;
  return { ...options, file, format, overlay: overlay?.path };
}

/** @throws {OptionError} for a format that is not supported, or that was not named */
function chosenFormat(file: string, format: DriveConfig["format"], option: string): ImageFormat | undefined {
  if (file === "" || isNbdName(file)) return format === "auto" ? "raw" : format;
  if (format === "auto") return probed(file, option);
  if (format === undefined) refuseOtherFormats(file, option);
  return format;
}

function probed(file: string, option: string): ImageFormat {
  try {
    return probeFormat(file);
  } catch (error) {
    if (!(error instanceof ForeignFormatError)) throw error;
    throw new OptionError(
      `${option}: "${file}" is a ${error.format} image, a format that is not supported; convert it with qemu-img`,
    );
  }
}

/** The guest would see the image's tables as its disk, and destroy them with its first write. */
function refuseOtherFormats(file: string, option: string): void {
  const asRaw = 'say format "raw" to give the guest its bytes as they are';
  try {
    const found = probeFormat(file);
    if (found === "raw") return;
    const use = isReadOnlyFormat(found) ? `"${found}" and read-only` : `"${found}"`;
    throw new OptionError(
      `${option}: "${file}" is a ${found} image; say format ${use} to use it, or ${asRaw}`,
    );
  } catch (error) {
    if (!(error instanceof ForeignFormatError)) throw error;
    throw new OptionError(
      `${option}: "${file}" is a ${error.format} image, a format that is not supported; convert it with qemu-img, or ${asRaw}`,
    );
  }
}
