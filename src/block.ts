/** `vmexit/block`: disk images for programs, without a machine around them. By name; nothing else. */

export { type BlockStatus, blockStatus } from "./disk/block-status.ts";
export { type CloudInitFiles, cloudInitDisk } from "./disk/cloud-init-disk.ts";
export type { DiskSource, SourceExtent } from "./disk/disk-source.ts";
export { type DiskImage, type Extent, readDisk, type Snapshot, writeDisk } from "./disk/image.ts";
export { ImageError } from "./disk/image-error.ts";
export { type CommitOptions, commitImage } from "./image-tools/commit.ts";
export { type CompareOptions, compareDisks, type Difference } from "./image-tools/compare.ts";
export { type CopyOptions, copyDisk } from "./image-tools/copy.ts";
export { type CreateImageOptions, createImage } from "./image-tools/create-image.ts";
export { describeImage, type ImageDescription, type Qcow2Description } from "./image-tools/describe.ts";
export { ImageSource } from "./image-tools/image-source.ts";
export { type Measure, type MeasureOptions, measureImage } from "./image-tools/measure.ts";
export { type BackingName, rebaseImage, setBackingFile } from "./image-tools/rebase.ts";
export { serveNbd } from "./image-tools/serve-nbd.ts";
export type { ImageFormat, ReadOnlyFormat, WritableFormat } from "./images/formats.ts";
export { type OpenedImage, type OpenImageOptions, openImage, probeFormat } from "./images/open-image.ts";
export type { OtherFiles } from "./images/other-file.ts";
export type { BitmapDescription } from "./images/qcow2/bitmap-directory.ts";
export {
  type BitmapChange,
  bitmapsOf,
  changeBitmap,
  copyBitmaps,
  removeAllBitmaps,
} from "./images/qcow2/change-bitmaps.ts";
export { type CheckOptions, type CheckResult, checkQcow2 } from "./images/qcow2/check.ts";
export type { CreateOptions, MadeImage } from "./images/qcow2/create.ts";
export { Qcow2Image } from "./images/qcow2/image.ts";
export { emptyQcow2, resizeQcow2 } from "./images/qcow2/resize.ts";
export type { StoredSnapshot } from "./images/qcow2/snapshot-table.ts";
export { applySnapshot, createSnapshot, deleteSnapshot, listSnapshots } from "./images/qcow2/snapshots.ts";
export { RawDisk } from "./images/raw-disk.ts";
export { ReadOnlyImage, type VmdkDescription } from "./images/read-only-image.ts";
export { connectNbd, type NbdConnectOptions, type NbdTarget } from "./nbd/connect.ts";
export type { NbdDisk } from "./nbd/nbd-disk.ts";
export { NbdError } from "./nbd/nbd-error.ts";
export { RemoteDisk } from "./nbd/remote-disk.ts";
export type { NbdServer, ServeNbdOptions } from "./nbd/serve.ts";
export type { NbdClientTls, NbdServerTls } from "./nbd/tls.ts";
export { SystemError } from "./sys/errors.ts";
export { AddonError } from "./sys/native.ts";
