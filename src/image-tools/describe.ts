/** What an image is, as far as its header and its directory of snapshots say. */
import { statSync } from "node:fs";
import type { DiskImage } from "../disk/image.ts";
import type { CompressionType } from "../images/compressed.ts";
import type { ImageFormat } from "../images/formats.ts";
import type { OpenedImage } from "../images/open-image.ts";
import { type BitmapDescription, listBitmaps } from "../images/qcow2/bitmap-directory.ts";
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPAT_LAZY_REFCOUNTS,
  INCOMPAT_CORRUPT,
  INCOMPAT_EXTENDED_L2,
} from "../images/qcow2/features.ts";
import { Qcow2Image } from "../images/qcow2/image.ts";
import type { StoredSnapshot } from "../images/qcow2/snapshot-table.ts";
import { listSnapshots } from "../images/qcow2/snapshots.ts";
import { ReadOnlyImage, type VmdkDescription } from "../images/read-only-image.ts";
import { RemoteDisk } from "../nbd/remote-disk.ts";
import { hostPath } from "../sys/host-path.ts";

export interface ImageDescription {
  readonly path: string;
  readonly format: ImageFormat;
  /** Bytes of the disk. */
  readonly size: number;
  /** Bytes that are allocated as one; undefined where nothing is allocated. */
  readonly clusterSize: number | undefined;
  /** Bytes that the host has stored for the file; an external data file is not counted. Of a remote disk nobody knows. */
  readonly storedBytes: number | undefined;
  /** How the image is reached: "file", "host_device" (a block device) or "nbd". */
  readonly protocol: "file" | "host_device" | "nbd";
  /** Bytes of the file, rounded up to sectors of 512; of an NBD disk its size. */
  readonly fileSize: number;
  /** Of qcow2 images. */
  readonly qcow2: Qcow2Description | undefined;
  /** Of VMDK images. */
  readonly vmdk: VmdkDescription | undefined;
}

export interface Qcow2Description {
  readonly version: 2 | 3;
  readonly compression: CompressionType;
  readonly lazyRefcounts: boolean;
  readonly refcountBits: number;
  readonly extendedL2: boolean;
  readonly corrupt: boolean;
  /** Not closed properly: refcounts may be wrong. */
  readonly dirty: boolean;
  /** As the image names them. */
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  readonly dataFile: string | undefined;
  readonly dataFileRaw: boolean;
  readonly snapshots: readonly StoredSnapshot[];
  readonly bitmaps: readonly BitmapDescription[];
}

/** @throws {ImageError | SystemError} if its tables cannot be read */
export function describeImage(image: OpenedImage): ImageDescription {
  const { path, format, size } = image;
  const { clusterSize }: DiskImage = image;
  const common = {
    path,
    format,
    size,
    storedBytes: image instanceof RemoteDisk ? undefined : stored(path),
    ...storageOf(image),
    clusterSize,
    qcow2: undefined,
    vmdk: image instanceof ReadOnlyImage ? image.parts.vmdk : undefined,
  } as const;
  if (!(image instanceof Qcow2Image)) return common;
  const { header, metadata } = image;
  return {
    ...common,
    qcow2: {
      version: header.version,
      compression: header.compression,
      lazyRefcounts: (header.compatible & COMPAT_LAZY_REFCOUNTS) !== 0n,
      refcountBits: 2 ** header.refcountOrder,
      extendedL2: (header.incompatible & INCOMPAT_EXTENDED_L2) !== 0n,
      corrupt: (header.incompatible & INCOMPAT_CORRUPT) !== 0n,
      dirty: metadata.isDirtyImage,
      backingFile: header.backingFile,
      backingFormat: header.backingFormat,
      dataFile: header.dataFile,
      dataFileRaw: (header.autoclear & AUTOCLEAR_DATA_FILE_RAW) !== 0n,
      snapshots: listSnapshots(image),
      bitmaps: listBitmaps(image.file, header),
    },
  };
}

function stored(path: string): number {
  return statSync(hostPath(path)).blocks * 512;
}

function storageOf(image: OpenedImage): Pick<ImageDescription, "protocol" | "fileSize"> {
  if (image instanceof RemoteDisk) return { protocol: "nbd", fileSize: image.size };
  const { isBlockDevice, size } = image.file;
  return { protocol: isBlockDevice ? "host_device" : "file", fileSize: Math.ceil(size / 512) * 512 };
}
