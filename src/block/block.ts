/** `vmexit/block`: disk images for programs, without a machine around them. By name; nothing else. */
export { SystemError } from "../sys/errors.ts";
export { AddonError } from "../sys/native.ts";
export { type BlockStatus, blockStatus } from "./block-status.ts";
export { type CompareOptions, compareDisks, type Difference } from "./compare.ts";
export { type CopyOptions, copyDisk } from "./copy.ts";
export { type CreateImageOptions, createImage } from "./create-image.ts";
export { describeImage, type ImageDescription, type Qcow2Description } from "./describe.ts";
export { type DiskImage, readDisk, writeDisk } from "./image.ts";
export { ImageError } from "./image-error.ts";
export { type ImageFormat, type OpenImageOptions, openImage, probeFormat } from "./open-image.ts";
export type { OtherFiles } from "./other-file.ts";
export { type CheckOptions, type CheckResult, checkQcow2 } from "./qcow2/check.ts";
export type { CreateOptions } from "./qcow2/create.ts";
export { Qcow2Image } from "./qcow2/image.ts";
export { resizeQcow2 } from "./qcow2/resize.ts";
export type { Snapshot } from "./qcow2/snapshot-table.ts";
export { applySnapshot, createSnapshot, deleteSnapshot, listSnapshots } from "./qcow2/snapshots.ts";
export { RawDisk } from "./raw-disk.ts";
