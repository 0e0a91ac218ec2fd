/** Looks at the images of a machine's drives and completes its spec with what they say. */
import { OptionError } from "../base/errors.ts";
import { type DriveImage, describeDrive } from "../block/drive.ts";
import { ramRegions } from "../machine/memory-map.ts";
import type { MachineSpec } from "../machine/spec.ts";
import { HostFile } from "../sys/file.ts";
import type { CheckedDrive, CheckedOptions } from "./validate.ts";

/** @throws {SystemError} for a file that cannot be opened; {ImageError} for an image that cannot be used. */
export function specOf(options: CheckedOptions): MachineSpec {
  return {
    cpus: options.cpus,
    ram: ramRegions(options.memory),
    serialPorts: options.serialPorts,
    drives: options.drives.map((drive, n) => {
      const { file, format, readOnly, serial, queues, writeCache } = drive;
      if (format === undefined) refuseOtherFormats(file, `drives[${n}].file`);
      const { size, blockSize } = describeDrive(imageOf(drive));
      return { size, blockSize, readOnly, serial, queues, writeCache };
    }),
    rng: options.rng,
    devices: options.ownDevices,
    traceUnclaimed: options.onUnclaimed !== undefined,
  };
}

/** What of a drive the io thread opens. */
export function imageOf({ file, format = "raw", readOnly, otherFiles }: CheckedDrive): DriveImage {
  return { file, format, readOnly, otherFiles };
}

/** Images of other formats by their first bytes. */
const MAGICS = [
  { format: "qcow2", magic: [0x51, 0x46, 0x49, 0xfb] }, // "QFI\xfb"
  { format: "VMDK", magic: [0x4b, 0x44, 0x4d, 0x56] }, // "KDMV"
  { format: "VHDX", magic: [0x76, 0x68, 0x64, 0x78] }, // "vhdx"
] as const;

/** A guest would see the image's own tables as its disk, and destroy them with its first write. */
function refuseOtherFormats(file: string, option: string): void {
  const head = new Uint8Array(4);
  using image = HostFile.open(file, { readOnly: true });
  image.read(head, 0);
  const found = MAGICS.find(({ magic }) => magic.every((byte, i) => head[i] === byte));
  if (found === undefined) return;
  const use =
    found.format === "qcow2"
      ? 'say format "qcow2" to use it'
      : "make a raw one of it (qemu-img convert -O raw)";
  throw new OptionError(
    `${option}: "${file}" is a ${found.format} image; ${use}, or say format "raw" to give the guest its bytes as they are`,
  );
}
