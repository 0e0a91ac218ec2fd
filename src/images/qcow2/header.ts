/**
 * The header of a qcow2 image, versions 2 and 3, and its extensions. Everything
 * a header says is checked here, once, before anything is allocated for it.
 *
 * Source: QEMU docs/interop/qcow2.txt, Header and Header extensions. Limits on
 * table sizes are QEMU's own, so that both open the same images.
 *
 * Not supported: encrypted images (crypt_method other than 0).
 */
import { bytesOfText, textOfBytes } from "../../base/byte-text.ts";
import { hex } from "../../base/hex.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { CompressionType } from "../compressed.ts";
import {
  AUTOCLEAR_BITMAPS,
  encodeFeatureNames,
  INCOMPAT_COMPRESSION,
  INCOMPAT_DATA_FILE,
  INCOMPAT_EXTENDED_L2,
  unknownFeatures,
} from "./features.ts";
import { MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, MIN_EXTENDED_CLUSTER_BITS } from "./geometry.ts";

export const MAGIC = 0x514649fb; // "QFI\xfb"

// Offsets of fields that are rewritten while an image is in use. Those that change together lie together.
export const SIZE_AT = 24;
export const L1_SIZE_AT = 36; // and l1_table_offset behind it
export const REFCOUNT_TABLE_OFFSET_AT = 48; // and refcount_table_clusters behind it
export const NB_SNAPSHOTS_AT = 60; // and snapshots_offset behind it
export const INCOMPATIBLE_AT = 72;
const COMPATIBLE_AT = 80;
export const AUTOCLEAR_AT = 88;

const V2_BYTES = 72;
const V3_BYTES = 104;
/** With compression_type and its padding, as new images have it. Behind it are fields of later versions. */
const HEADER_BYTES = 112;

const EXT_END = 0;
const EXT_BACKING_FORMAT = 0xe2792aca;
const EXT_FEATURE_NAMES = 0x6803f857;
const EXT_BITMAPS = 0x23852875;
const EXT_ENCRYPTION = 0x0537be77;
const EXT_DATA_FILE = 0x44415441;

export const MAX_L1_BYTES = 32 * 2 ** 20;
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20;
const MAX_SNAPSHOTS = 65536;
const MAX_BACKING_NAME = 1023;
/** Offsets and sizes stay exact in a number below this. */
const MAX_OFFSET = 2 ** 53;

export interface HeaderExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Bytes of the virtual disk, a multiple of 512. */
  readonly size: number;
  /** Entries. */
  readonly l1Size: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshots: number;
  readonly snapshotsOffset: number;
  readonly incompatible: bigint;
  readonly compatible: bigint;
  readonly autoclear: bigint;
  readonly refcountOrder: number;
  readonly compression: CompressionType;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  /** What the image calls its external data file. */
  readonly dataFile: string | undefined;
  /** The bitmaps extension, as it is; undefined if there is none. */
  readonly bitmaps: Uint8Array | undefined;
  /** Fields behind those that are known here, kept when the header is written anew. */
  readonly otherFields: Uint8Array;
  /** Extensions that are not known here, kept too. */
  readonly otherExtensions: readonly HeaderExtension[];
}

/**
 * Reads a header.
 *
 * @param head the first bytes of the file: one cluster, or all of a shorter file
 * @param fileSize bytes
 * @param forRepair a refcount table that cannot be where the header says is as good as none
 * @throws {ImageError} for anything that is not an image this version can use.
 */
export function parseHeader(path: string, head: Uint8Array, fileSize: number, forRepair = false): Header {
  const refuse = (why: string): never => {
    throw new ImageError(path, why);
  };
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < V2_BYTES || view.getUint32(0) !== MAGIC) refuse("this is not a qcow2 image");
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return refuse(`qcow version ${version} is not supported; 2 and 3 are`);
  if (version === 3 && head.length < V3_BYTES) refuse("the header is cut off");

  const clusterBits = view.getUint32(20);
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) {
    refuse(`clusters of 2^${clusterBits} bytes; they have to be of 512 bytes to 2 MiB`);
  }
  const clusterSize = 2 ** clusterBits;
  const headerLength = version === 2 ? V2_BYTES : view.getUint32(100);
  if (
    headerLength > clusterSize ||
    headerLength > head.length ||
    (version === 3 && headerLength < V3_BYTES)
  ) {
    refuse(`a header of ${headerLength} bytes`);
  }

  const incompatible = version === 2 ? 0n : view.getBigUint64(INCOMPATIBLE_AT);
  const extensions = parseExtensions(view, headerLength, clusterSize, refuse);
  const unknown = unknownFeatures(incompatible, extensions.get(EXT_FEATURE_NAMES) ?? new Uint8Array());
  if (unknown.length > 0) refuse(`it uses features that this version does not know: ${unknown.join(", ")}`);
  if (view.getUint32(32) !== 0 || extensions.has(EXT_ENCRYPTION)) {
    refuse("it is encrypted, which is not supported; decrypt it with `qemu-img convert` first");
  }
  const extendedL2 = (incompatible & INCOMPAT_EXTENDED_L2) !== 0n;
  if (extendedL2 && clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
    refuse(`extended L2 entries need clusters of at least 16 KiB, not ${clusterSize} bytes`);
  }
  const refcountOrder = version === 2 ? 4 : view.getUint32(96);
  if (refcountOrder > 6) refuse(`refcounts of 2^${refcountOrder} bits; the maximum is 64`);
  const compressionType = headerLength > V3_BYTES ? head[V3_BYTES] : 0;
  if (compressionType > 1) refuse(`compression type ${compressionType} is not known`);
  if (((incompatible & INCOMPAT_COMPRESSION) !== 0n) !== (compressionType !== 0)) {
    refuse("the compression type and its feature bit contradict each other");
  }

  /** A table in the file, `bytes` long. */
  const table = (what: string, at: number, bytes: number, most: number): number => {
    const offset = getUint64(view, at);
    if (bytes > most) refuse(`${what} of ${bytes} bytes; the maximum is ${most}`);
    if (bytes > 0 && (offset === 0 || offset % clusterSize !== 0 || offset + bytes > fileSize)) {
      refuse(`${what} at offset ${offset}, which is not valid`);
    }
    return offset;
  };
  const l1Size = view.getUint32(L1_SIZE_AT);
  const l1Offset = table("an L1 table", 40, l1Size * 8, MAX_L1_BYTES);
  const refcounts = refcountTable(view, clusterSize, fileSize);
  if (refcounts.wrong !== undefined && !forRepair) refuse(refcounts.wrong);
  const snapshots = view.getUint32(NB_SNAPSHOTS_AT);
  if (snapshots > MAX_SNAPSHOTS) refuse(`${snapshots} snapshots; the maximum is ${MAX_SNAPSHOTS}`);
  const snapshotsOffset = table("a snapshot table", 64, snapshots === 0 ? 0 : 1, 1);

  const size = getUint64(view, SIZE_AT);
  const coverage = clusterSize * (clusterSize / (extendedL2 ? 16 : 8));
  if (size >= MAX_OFFSET || Math.ceil(size / coverage) > l1Size) {
    refuse(`a disk of ${size} bytes, for which an L1 table of ${l1Size} entries is too small`);
  }

  const dataFile = extensions.get(EXT_DATA_FILE);
  const backingFormat = extensions.get(EXT_BACKING_FORMAT);
  return {
    version,
    clusterBits,
    size: size - (size % 512),
    l1Size,
    l1Offset,
    refcountTableOffset: refcounts.offset,
    refcountTableClusters: refcounts.clusters,
    snapshots,
    snapshotsOffset,
    incompatible,
    compatible: version === 2 ? 0n : view.getBigUint64(COMPATIBLE_AT),
    autoclear: version === 2 ? 0n : view.getBigUint64(AUTOCLEAR_AT),
    refcountOrder,
    compression: compressionType === 0 ? "zlib" : "zstd",
    backingFile: parseBackingName(view, clusterSize, refuse),
    backingFormat: backingFormat && textOfBytes(backingFormat),
    dataFile: (incompatible & INCOMPAT_DATA_FILE) !== 0n && dataFile ? textOfBytes(dataFile) : undefined,
    bitmaps: extensions.get(EXT_BITMAPS),
    otherFields: head.slice(HEADER_BYTES, Math.max(HEADER_BYTES, headerLength)),
    otherExtensions: [...extensions]
      .filter(([type]) => !KNOWN_EXTENSIONS.has(type))
      .map(([type, data]) => ({ type, data })),
  };
}

/** Where the refcount table is. What is `wrong` can be mended, as all of it can be counted anew. */
function refcountTable(
  view: DataView,
  clusterSize: number,
  fileSize: number,
): { readonly offset: number; readonly clusters: number; readonly wrong?: string } {
  const offset = getUint64(view, REFCOUNT_TABLE_OFFSET_AT);
  const clusters = view.getUint32(REFCOUNT_TABLE_OFFSET_AT + 8);
  const bytes = clusters * clusterSize;
  const nowhere = { offset: 0, clusters: 0 };
  if (clusters === 0) return { ...nowhere, wrong: "it has no refcount table" };
  if (bytes > MAX_REFCOUNT_TABLE_BYTES) {
    const wrong = `a refcount table of ${bytes} bytes; the maximum is ${MAX_REFCOUNT_TABLE_BYTES}`;
    return { ...nowhere, wrong };
  }
  const wrong = `a refcount table at offset ${offset}, which is not valid`;
  if (offset % clusterSize !== 0 || offset >= MAX_OFFSET) return { ...nowhere, wrong };
  // The last cluster of a table need not be whole in the file.
  const fits = offset !== 0 && offset + 8 <= fileSize;
  return { offset, clusters, ...(!fits && { wrong }) };
}

const KNOWN_EXTENSIONS = new Set([
  EXT_BACKING_FORMAT,
  EXT_FEATURE_NAMES,
  EXT_BITMAPS,
  EXT_ENCRYPTION,
  EXT_DATA_FILE,
]);

/**
 * The header with its extensions and the backing file's name, as it stands in
 * the first cluster; the rest of that cluster is zero.
 *
 * @param avoid bytes where the backing file's name shall not lie, if there is room elsewhere
 * @throws {ImageError} if they do not fit there.
 */
export function encodeHeader(
  path: string,
  header: Header,
  avoid: { readonly start: number; readonly end: number } = { start: 0, end: 0 },
): Uint8Array {
  const clusterSize = 2 ** header.clusterBits;
  const name = bytesOfText(header.backingFile ?? "");
  if (name.length > MAX_BACKING_NAME) {
    throw new ImageError(path, `the backing file's name has more than ${MAX_BACKING_NAME} bytes`);
  }
  const extensions: HeaderExtension[] = [];
  const add = (type: number, data: Uint8Array | string | undefined) => {
    if (data === undefined) return;
    extensions.push({ type, data: typeof data === "string" ? bytesOfText(data) : data });
  };
  if (header.backingFile !== undefined) add(EXT_BACKING_FORMAT, header.backingFormat);
  add(EXT_DATA_FILE, header.dataFile);
  if ((header.autoclear & AUTOCLEAR_BITMAPS) !== 0n) add(EXT_BITMAPS, header.bitmaps);
  extensions.push(...header.otherExtensions);
  const length = header.version === 2 ? V2_BYTES : HEADER_BYTES + header.otherFields.length;
  const bytesOf = (all: readonly HeaderExtension[]) =>
    all.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, length + 8) + name.length;
  // A help for older programs, and the only part that a small cluster can do without.
  const names = { type: EXT_FEATURE_NAMES, data: encodeFeatureNames() };
  if (header.version === 3 && bytesOf([...extensions, names]) <= clusterSize) extensions.push(names);
  if (bytesOf(extensions) > clusterSize) {
    throw new ImageError(path, `the names of other files do not fit into its header of ${clusterSize} bytes`);
  }

  const bytes = new Uint8Array(clusterSize);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, header.version);
  view.setUint32(20, header.clusterBits);
  setUint64(view, SIZE_AT, header.size);
  view.setUint32(L1_SIZE_AT, header.l1Size);
  setUint64(view, 40, header.l1Offset);
  setUint64(view, REFCOUNT_TABLE_OFFSET_AT, header.refcountTableOffset);
  view.setUint32(56, header.refcountTableClusters);
  view.setUint32(NB_SNAPSHOTS_AT, header.snapshots);
  setUint64(view, 64, header.snapshotsOffset);
  if (header.version === 3) {
    view.setBigUint64(INCOMPATIBLE_AT, header.incompatible);
    view.setBigUint64(COMPATIBLE_AT, header.compatible);
    view.setBigUint64(AUTOCLEAR_AT, header.autoclear);
    view.setUint32(96, header.refcountOrder);
    view.setUint32(100, length);
    bytes[V3_BYTES] = header.compression === "zlib" ? 0 : 1;
    bytes.set(header.otherFields, HEADER_BYTES);
  }
  let at = length;
  for (const { type, data } of extensions) {
    view.setUint32(at, type);
    view.setUint32(at + 4, data.length);
    bytes.set(data, at + 8);
    at += 8 + Math.ceil(data.length / 8) * 8;
  }
  at += 8; // EXT_END
  const meets = at < avoid.end && avoid.start < at + name.length;
  if (meets && avoid.end + name.length <= clusterSize) at = avoid.end;
  if (header.backingFile !== undefined) {
    setUint64(view, 8, at);
    view.setUint32(16, name.length);
    bytes.set(name, at);
  }
  return bytes;
}

function parseExtensions(
  view: DataView,
  start: number,
  clusterSize: number,
  refuse: (why: string) => never,
): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const backing = getUint64(view, 8);
  const end = Math.min(view.byteLength, backing === 0 ? clusterSize : Math.min(backing, clusterSize));
  for (let at = start; at + 8 <= end; ) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === EXT_END) break;
    if (length > end - at - 8) refuse(`header extension ${hex(type)} is longer than the header`);
    if (found.has(type)) refuse(`header extension ${hex(type)} is there twice`);
    found.set(type, new Uint8Array(view.buffer, view.byteOffset + at + 8, length).slice());
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function parseBackingName(
  view: DataView,
  clusterSize: number,
  refuse: (why: string) => never,
): string | undefined {
  const offset = getUint64(view, 8);
  if (offset === 0) return undefined;
  const length = view.getUint32(16);
  if (length === 0) return undefined;
  if (length > MAX_BACKING_NAME) refuse(`a backing file's name of ${length} bytes`);
  if (offset < V2_BYTES || offset + length > Math.min(clusterSize, view.byteLength)) {
    refuse("the backing file's name lies outside the header");
  }
  return textOfBytes(new Uint8Array(view.buffer, view.byteOffset + offset, length));
}

/** Exact below 2^53; larger numbers come out as something at least as large. */
export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
}

export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}
