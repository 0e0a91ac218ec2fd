/**
 * Makes new qcow2 images.
 *
 * A new image begins as one without a disk: header, refcount table, refcount
 * block. The disk then grows as in any other image, so there is one way to
 * lay out tables.
 *
 * Source: QEMU docs/interop/qcow2.txt; limits and defaults are those of
 * `qemu-img create`.
 */
import { existsSync } from "node:fs";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { hostPath } from "../../sys/host-path.ts";
import type { CompressionType } from "../compressed.ts";
import { fileNamedIn } from "../file-name.ts";
import { IMAGE_FORMATS, type ImageFormat } from "../formats.ts";
import { makeFile } from "../made-file.ts";
import type { OtherFiles } from "../other-file.ts";
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPAT_LAZY_REFCOUNTS,
  INCOMPAT_COMPRESSION,
  INCOMPAT_DATA_FILE,
  INCOMPAT_EXTENDED_L2,
} from "./features.ts";
import { geometryOf, MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, MIN_EXTENDED_CLUSTER_BITS } from "./geometry.ts";
import { encodeHeader, type Header, MAX_L1_BYTES } from "./header.ts";
import type { Qcow2Image } from "./image.ts";
import { openQcow2 } from "./open.ts";
import type { Preallocation } from "./preallocate.ts";
import { setRefcount } from "./refcount-entry.ts";
import { grow, tooLarge } from "./resize.ts";

/** An image that was made. */
export interface MadeImage {
  /** Takes it away again, if what should be in it could not be copied. */
  readonly undo: () => void;
}

export interface CreateOptions {
  /** Bytes of the disk, rounded up to sectors of 512. Without it, as large as the backing file. */
  readonly size?: number;
  /** 3 (compat=1.1, the default) or 2 (compat=0.10). */
  readonly version?: 2 | 3;
  /** Bytes, a power of two from 512 to 2 MiB. Default 64 KiB. */
  readonly clusterSize?: number;
  /** A power of two from 1 to 64. Default 16. */
  readonly refcountBits?: number;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  /** What `writeCompressed` makes. Default zlib, which every version of the format knows. */
  readonly compressionType?: CompressionType;
  /** A path as the image will name it: relative to the image's own folder, unless absolute. */
  readonly backingFile?: string;
  /** Required with a backing file. */
  readonly backingFormat?: ImageFormat;
  /** External data file, as the image will name it; made if it is not there. */
  readonly dataFile?: string;
  /** The data file by itself is the raw disk. */
  readonly dataFileRaw?: boolean;
  readonly preallocation?: Preallocation;
  /** Which other files are followed. Default "folder". */
  readonly otherFiles?: OtherFiles;
  /** Makes the image in a file that is there already, whose contents are lost. */
  readonly overwrite?: boolean;
}

/**
 * Makes an image and closes it. If that fails, no half of one is left.
 *
 * @throws {ImageError} for options that do not go together
 * @throws {SystemError} EEXIST if there is such a file; if it cannot be written
 */
export function createQcow2(path: string, options: CreateOptions): MadeImage {
  const header = headerFor(path, options);
  const bytes = encodeHeader(path, header);
  if (options.size !== undefined) checkSize(path, options.size, header);
  const { file, undo } = makeFile(path, options.overwrite ?? false);
  const undos = [undo];
  const image = {
    undo: () => {
      for (const each of undos) each();
    },
  };
  try {
    writeEmpty(file, header, bytes);
    file.close();
    if (options.dataFile !== undefined) undos.push(makeDataFile(path, options.dataFile));
    addDisk(path, options);
    return image;
  } catch (error) {
    file.close();
    image.undo();
    throw error;
  }
}

/** Gives an image without a disk the one that was asked for. */
function addDisk(path: string, options: CreateOptions): void {
  const { otherFiles = "folder", preallocation = "off" } = options;
  using image: Qcow2Image = openQcow2(path, { durable: false, otherFiles });
  const size = options.size ?? image.backing?.size;
  if (size === undefined) throw new ImageError(path, "give a size, or a backing file that has one");
  if (preallocation !== "off" && image.backing !== undefined && options.extendedL2 !== true) {
    throw new ImageError(path, "what is preallocated hides the backing file: it needs extended L2 entries");
  }
  grow(image, Math.ceil(size / 512) * 512, preallocation);
}

/** Before anything is written. */
function checkSize(path: string, size: number, header: Header): void {
  const extendedL2 = (header.incompatible & INCOMPAT_EXTENDED_L2) !== 0n;
  const { l2Coverage } = geometryOf(header.clusterBits, header.refcountOrder, extendedL2);
  if (Math.ceil(size / l2Coverage) * 8 > MAX_L1_BYTES) throw tooLarge(path);
}

/** Says whether an image can be made so. @throws {ImageError} for options that do not go together */
export function checkCreateOptions(path: string, options: CreateOptions): void {
  headerFor(path, options);
}

function headerFor(path: string, options: CreateOptions): Header {
  const {
    version = 3,
    clusterSize = 65536,
    refcountBits = 16,
    lazyRefcounts = false,
    extendedL2 = false,
    compressionType = "zlib",
  } = options;
  const { backingFile, backingFormat, dataFile, dataFileRaw = false } = options;
  const refuse = (why: string): never => {
    throw new ImageError(path, why);
  };
  const clusterBits = Math.log2(clusterSize);
  if (!Number.isInteger(clusterBits) || clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    refuse("Cluster size must be a power of two between 512 and 2048k");
  }
  const refcountOrder = Math.log2(refcountBits);
  if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > 6) {
    refuse("Refcount width must be a power of two and may not exceed 64 bits");
  }
  if (version === 2) {
    if (refcountBits !== 16) refuse("refcounts of another width than 16 bits need version 3 (compat=1.1)");
    if (lazyRefcounts) refuse("lazy refcounts need version 3 (compat=1.1)");
    if (extendedL2) refuse("extended L2 entries need version 3 (compat=1.1)");
    if (compressionType !== "zlib") refuse("zstd needs version 3 (compat=1.1)");
    if (dataFile !== undefined) refuse("an external data file needs version 3 (compat=1.1)");
  }
  if (extendedL2 && clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
    refuse("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  }
  if (backingFile !== undefined && backingFormat === undefined) {
    refuse(`a backing file needs its format: ${IMAGE_FORMATS.join(", ")}`);
  }
  if (dataFileRaw && dataFile === undefined) refuse("data-file-raw requires data-file");
  if (dataFileRaw && backingFile !== undefined)
    refuse("Backing file and data-file-raw cannot be used at the same time");
  return {
    version,
    clusterBits,
    size: 0,
    l1Size: 0,
    l1Offset: 0,
    refcountTableOffset: clusterSize,
    refcountTableClusters: 1,
    snapshots: 0,
    snapshotsOffset: 0,
    incompatible:
      (dataFile === undefined ? 0n : INCOMPAT_DATA_FILE) |
      (extendedL2 ? INCOMPAT_EXTENDED_L2 : 0n) |
      (compressionType === "zstd" ? INCOMPAT_COMPRESSION : 0n),
    compatible: lazyRefcounts ? COMPAT_LAZY_REFCOUNTS : 0n,
    autoclear: dataFileRaw ? AUTOCLEAR_DATA_FILE_RAW : 0n,
    refcountOrder,
    compression: compressionType,
    backingFile,
    backingFormat,
    dataFile,
    bitmaps: undefined,
    otherFields: new Uint8Array(),
    otherExtensions: [],
  };
}

/** Header, refcount table and its first block: clusters 0 to 2. */
function writeEmpty(file: HostFile, header: Header, headerBytes: Uint8Array): void {
  const { clusterSize, refcountOrder } = geometryOf(header.clusterBits, header.refcountOrder, false);
  if (!file.isBlockDevice) file.truncate(0);
  const block = new Uint8Array(clusterSize);
  for (let cluster = 0; cluster < 3; cluster++)
    setRefcount(new DataView(block.buffer), 0, cluster, refcountOrder, 1);
  const table = new Uint8Array(clusterSize);
  new DataView(table.buffer).setUint32(4, 2 * clusterSize);
  file.write(block, 2 * clusterSize);
  file.write(table, clusterSize);
  file.write(headerBytes, 0);
}

/** Makes an external data file that is not there. Returns what undoes that. */
function makeDataFile(path: string, name: string): () => void {
  const place = fileNamedIn(path, name);
  if (existsSync(hostPath(place))) return () => {};
  const { file, undo } = makeFile(place, true);
  file.close();
  return undo;
}
