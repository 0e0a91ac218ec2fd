/**
 * Opens a qcow2 image and what it depends on: backing files down to the last, and
 * its external data file. They are files of somebody else's choosing, see
 * ../other-file.ts.
 *
 * A backing file whose format the image does not name is looked at: it may be of
 * any format, but a qcow2 image must not name a further file. (A guest that once wrote its
 * raw disk could otherwise make an image of it that names any file of the host.)
 */

import { MIB } from "../../base/units.ts";
import type { DiskImage } from "../../disk/image.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { lockImage } from "../file-lock.ts";
import { type Files, HOST_FILES } from "../files.ts";
import { ForeignFormatError, foreignFormat } from "../foreign-formats.ts";
import { IMAGE_FORMATS, isReadOnlyFormat, type ReadOnlyFormat } from "../formats.ts";
import { openReadOnly, probeReadOnly } from "../open-read-only.ts";
import type { OtherFiles } from "../other-file.ts";
import { RawDisk } from "../raw-disk.ts";
import { repairDirty } from "./check.ts";
import { INCOMPAT_DATA_FILE, INCOMPAT_EXTENDED_L2 } from "./features.ts";
import { geometryOf } from "./geometry.ts";
import { type Header, MAGIC, parseHeader } from "./header.ts";
import { Qcow2Image } from "./image.ts";
import { Metadata } from "./metadata.ts";
import { findSnapshot, readSnapshotTable } from "./snapshot-table.ts";

/** Maps 256 GiB of a disk with clusters of 64 KiB. */
const DEFAULT_CACHE = 32 * MIB;
const MIN_CACHE = 64 * 1024;
/** Images in one chain. */
const MAX_CHAIN = 200;

export interface Qcow2Options {
  /** Default false. */
  readonly readOnly?: boolean;
  /** Bytes that L2 tables may take, for each image of the chain; refcounts take up to a quarter of that. Default 32 MiB. */
  readonly cacheBytes?: number;
  /** Which other files the image may name. Default "folder". */
  readonly otherFiles?: OtherFiles;
  /** False: nothing waits for stable storage, not even `flush`. A crash of the host may damage the image then. */
  readonly durable?: boolean;
  /** Guest data goes past the host's page cache, in all files of the chain. Tables do not. Default false. */
  readonly direct?: boolean;
  /** False: does not care who else uses the image; for reading only. */
  readonly lock?: boolean;
  /** False: an image that was not closed properly, or has no usable refcounts, is opened as it is, for `checkQcow2` to look at. */
  readonly repair?: boolean;
  /** Id or name of a snapshot: the disk is what it was then, read-only. */
  readonly snapshot?: string;
  /** What shines through where the image holds nothing, in place of the backing file that it names. Closed with it. */
  readonly backing?: DiskImage;
  /** How its files are opened. */
  readonly files?: Files;
  /** False: it is opened as it is to be used, but nothing in it is changed yet. Default true. */
  readonly mayChange?: boolean;
  /** This backing file is opened for writing too, to commit to it: 1 for the image's own, 2 for that one's … */
  readonly writableBacking?: number;
}

/** What is the same for all images of a chain. */
interface Chain {
  readonly top: string;
  readonly options: Required<Omit<Qcow2Options, "snapshot" | "backing">>;
  /** Images that are open already: how far down the next one is. */
  depth: number;
  /** Files that are open already: a second time would be a loop. */
  readonly files: Set<string>;
}

/**
 * Opens an image. One that was not closed after lazy refcounts is counted anew
 * first, if it may be written.
 *
 * @throws {ImageError} if it cannot be used, or somebody else uses it
 * @throws {SystemError} if a file cannot be opened or read
 */
export function openQcow2(path: string, options: Qcow2Options = {}): Qcow2Image {
  const all = {
    readOnly: false,
    cacheBytes: DEFAULT_CACHE,
    otherFiles: "folder" as const,
    durable: true,
    direct: false,
    lock: true,
    repair: true,
    writableBacking: 0,
    files: HOST_FILES,
    mayChange: true,
    ...options,
  };
  if (!all.lock && !all.readOnly) throw new RangeError("an image without locks can only be read");
  const { snapshot, backing } = options;
  if (snapshot !== undefined && !all.readOnly) throw new RangeError("a snapshot can only be read");
  const chain = { top: path, options: all, depth: 0, files: new Set<string>() };
  return openIn(chain, path, all.readOnly, true, snapshot, backing);
}

/** Reads the header of an image, without looking at anything else. @throws as `openQcow2` */
export function readQcow2Header(file: HostFile, forRepair = false): Header {
  const { size } = file;
  const peek = new Uint8Array(24);
  file.read(peek, 0);
  const clusterBits = new DataView(peek.buffer).getUint32(20);
  const head = new Uint8Array(2 ** Math.min(21, Math.max(9, clusterBits)));
  const got = file.read(head, 0);
  return parseHeader(file.path, head.subarray(0, got), size, forRepair);
}

/** True if a file begins as qcow2 images do; version 1 is another format. */
export function looksLikeQcow2(file: HostFile): boolean {
  const head = new Uint8Array(8);
  const view = new DataView(head.buffer);
  return file.read(head, 0) >= 4 && view.getUint32(0) === MAGIC && view.getUint32(4) !== 1;
}

/** @param mayName the image may have a backing file or a data file */
function openIn(
  chain: Chain,
  path: string,
  readOnly: boolean,
  mayName: boolean,
  snapshot?: string,
  below?: DiskImage,
): Qcow2Image {
  const { options } = chain;
  const file = options.files.open(path, { readOnly, direct: options.direct });
  const opened: { close(): void }[] = [file];
  try {
    enter(chain, path);
    if (options.lock) lockImage(file, "format");
    const now = readQcow2Header(file, !options.repair);
    const header = snapshot === undefined ? now : headerOfSnapshot(file, now, snapshot);
    if (!mayName && (header.backingFile !== undefined || (header.incompatible & INCOMPAT_DATA_FILE) !== 0n)) {
      throw new ImageError(
        path,
        "it names a further file, but the image over it does not say that it is a qcow2 image; say it with `vmexit img rebase -u -b FILE -F qcow2`",
      );
    }
    const data = openData(chain, path, header, file, readOnly);
    if (data !== file) opened.push(data);
    const backing = below ?? openBacking(chain, path, header);
    if (backing !== undefined && backing !== below) opened.push(backing);
    const l2 = Math.max(MIN_CACHE, options.cacheBytes);
    const metadata = new Metadata(file, data, header, { l2, refcounts: l2 / 4 }, options.durable);
    const image = new Qcow2Image(metadata, backing);
    if (metadata.isDirtyImage && !readOnly && options.repair && options.mayChange) repairDirty(image);
    return image;
  } catch (error) {
    for (const each of opened) each.close();
    throw error;
  }
}

/** The header as it would be if the disk were what it was then. */
function headerOfSnapshot(file: HostFile, header: Header, wanted: string): Header {
  const { l1Offset, l1Size, diskSize } = findSnapshot(
    file.path,
    readSnapshotTable(file, header).snapshots,
    wanted,
  );
  const { l2Coverage } = geometryOf(
    header.clusterBits,
    header.refcountOrder,
    (header.incompatible & INCOMPAT_EXTENDED_L2) !== 0n,
  );
  if (diskSize % 512 !== 0 || Math.ceil(diskSize / l2Coverage) > l1Size) {
    throw new ImageError(
      file.path,
      `snapshot ${JSON.stringify(wanted)} has a disk of ${diskSize} bytes, which its tables do not cover`,
    );
  }
  return { ...header, l1Offset, l1Size, size: diskSize };
}

function openData(chain: Chain, path: string, header: Header, file: HostFile, readOnly: boolean): HostFile {
  if ((header.incompatible & INCOMPAT_DATA_FILE) === 0n) return file;
  if (header.dataFile === undefined) throw new ImageError(path, "it does not say where its data file is");
  const { otherFiles, lock, direct, files } = chain.options;
  if (otherFiles === "none") return file; // only the tables will be looked at
  const place = files.resolve(path, header.dataFile, chain.top, otherFiles, "data file");
  const data = files.open(place, { readOnly, direct });
  try {
    enter(chain, place);
    if (lock) lockImage(data, "format");
    return data;
  } catch (error) {
    data.close();
    throw error;
  }
}

function openBacking(chain: Chain, path: string, header: Header): DiskImage | undefined {
  const { otherFiles, lock, direct, files } = chain.options;
  if (header.backingFile === undefined || otherFiles === "none") return undefined;
  const place = files.resolve(path, header.backingFile, chain.top, otherFiles, "backing file");
  chain.depth++;
  const readOnly = chain.depth !== chain.options.writableBacking;
  switch (header.backingFormat) {
    case "qcow2":
      return openIn(chain, place, readOnly, true);
    case undefined: {
      const found = probe(files, place);
      if (found === "qcow2") return openIn(chain, place, readOnly, false);
      if (found !== undefined) return openBelow(chain, place, found);
      break;
    }
    case "raw":
    case "file":
    case "host_device":
      break;
    default: {
      const format = header.backingFormat;
      if (isReadOnlyFormat(format)) return openBelow(chain, place, format);
      throw new ImageError(
        path,
        `its backing file has the format ${JSON.stringify(format)}; ${IMAGE_FORMATS.join(", ")} are supported`,
      );
    }
  }
  const raw = RawDisk.open(place, { readOnly, direct, files });
  try {
    enter(chain, place);
    if (lock) lockImage(raw.file, "format");
    return raw;
  } catch (error) {
    raw.close();
    throw error;
  }
}

/** An image of a format that names no further files. */
function openBelow(chain: Chain, path: string, format: ReadOnlyFormat): DiskImage {
  const { lock, cacheBytes, files } = chain.options;
  const image = openReadOnly(path, format, { readOnly: true, lock, cacheBytes, files });
  try {
    enter(chain, path);
    return image;
  } catch (error) {
    image.close();
    throw error;
  }
}

/** Undefined: as nothing known, so it is raw. */
function probe(files: Files, path: string): ReadOnlyFormat | "qcow2" | undefined {
  using file = files.open(path, { readOnly: true });
  if (looksLikeQcow2(file)) return "qcow2";
  const found = probeReadOnly(file);
  const foreign = found === undefined ? foreignFormat(file) : undefined;
  if (foreign !== undefined) throw new ForeignFormatError(path, foreign);
  return found;
}

function enter(chain: Chain, path: string): void {
  const identity = chain.options.files.identity(path);
  if (chain.files.has(identity)) {
    throw new ImageError(chain.top, `its chain of backing files leads back to ${JSON.stringify(path)}`);
  }
  if (chain.files.size === MAX_CHAIN)
    throw new ImageError(chain.top, `its backing chain has more than ${MAX_CHAIN} files`);
  chain.files.add(identity);
}
