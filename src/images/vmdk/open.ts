/**
 * VMDK images of VMware that are one file: monolithicSparse, and streamOptimized,
 * which OVF packages contain.
 *
 * Source: VMware, Virtual Disk Format 5.0, technical note.
 *
 * Not supported: disks in several files (twoGbMaxExtent…, monolithicFlat, vmfs…,
 * seSparse, raw devices), and those with a parent. The files that a descriptor
 * names are never opened, because they are not trusted.
 */

import { inflateSync } from "node:zlib";
import { SECTOR } from "../../base/units.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { UNALLOCATED } from "../block-map.ts";
import type { ReadOnlyParts, TableCheck } from "../read-only-image.ts";
import { looksLikeDescriptor, parseDescriptor, whyNotAlone } from "./descriptor.ts";
import { GrainTables } from "./grain-tables.ts";
import { readExtent, type SparseHeader } from "./header.ts";

const MAGICS = ["KDMV", "COWD"];
/** Bytes of a descriptor file that are read, at most. */
const DESCRIPTOR_HEAD = 2 ** 16;
/** A grain's marker: lba, 8 bytes, and the length of the data. */
const MARKER_BYTES = 12;
const MARKER_SIZE = 8;

/** True if a file has the magic of these images, or is the descriptor of one. */
export function looksLikeVmdk(head: Uint8Array): boolean {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString("latin1");
  return MAGICS.includes(text.slice(0, 4)) || looksLikeDescriptor(text);
}

/** @throws {ImageError} for a file that is not such an image, or cannot be used; {SystemError} */
export function openVmdk(file: HostFile, cacheBytes: number): ReadOnlyParts {
  const refuse = (why: string): never => {
    throw new ImageError(file.path, why);
  };
  refuseDescriptor(file, refuse);
  const { header, descriptor } = readExtent(file);
  if (descriptor === "")
    refuse("it is one file of a disk that lies in several; only whole disks are supported");
  const { cid, parentCid } = parseDescriptor(descriptor, refuse);
  const { size, grainBytes, compressed } = header;
  const table = new GrainTables(file, header, cacheBytes);
  return {
    format: "vmdk",
    size,
    table,
    clusterSize: grainBytes,
    ...(compressed && { unpack: (host, length) => unpackGrain(file, header, host, length) }),
    check: (report) => checkTables(file, table, size, report),
    vmdk: {
      cid,
      parentCid,
      createType: compressed ? "streamOptimized" : "monolithicSparse",
      grainSize: grainBytes,
      compressed,
    },
  };
}

function refuseDescriptor(file: HostFile, refuse: (why: string) => never): void {
  const head = Buffer.alloc(DESCRIPTOR_HEAD);
  const text = head.toString("latin1", 0, file.read(head, 0));
  if (looksLikeDescriptor(text)) refuse(whyNotAlone(text));
}

/** Gives at least `length` bytes, and no more than a grain. */
function unpackGrain(file: HostFile, header: SparseHeader, host: number, length: number): Uint8Array {
  const { grainBytes, hasMarkers } = header;
  const refuse = (why: string): never => {
    throw new ImageError(file.path, `the compressed grain at offset ${host} ${why}`);
  };
  let packedLength = grainBytes;
  let at = host;
  if (hasMarkers) {
    const marker = new DataView(new ArrayBuffer(MARKER_BYTES));
    const got = file.read(new Uint8Array(marker.buffer), host);
    packedLength = marker.getUint32(MARKER_SIZE, true);
    at += MARKER_BYTES;
    if (got < MARKER_BYTES || packedLength > 2 * grainBytes)
      refuse(`claims to be ${packedLength} bytes long`);
  }
  const packed = new Uint8Array(packedLength);
  const got = file.read(packed, at);
  if (hasMarkers && got < packedLength)
    refuse("ends beyond the end of the file: it was cut off, copy it anew");
  let grain: Uint8Array;
  try {
    grain = inflateSync(packed.subarray(0, got), { maxOutputLength: grainBytes });
  } catch (error) {
    return refuse(`cannot be read (${error instanceof Error ? error.message : String(error)})`);
  }
  if (grain.length < length) refuse(`has ${grain.length} bytes instead of ${length}`);
  return grain;
}

/** Checks that all grains are in the file. Ends at the first one that is not, as QEMU does (block/vmdk.c). */
function checkTables(
  file: HostFile,
  table: GrainTables,
  size: number,
  report: (line: string) => void,
): TableCheck {
  const fileSize = file.size;
  const sectorOf = (grain: number) => (grain * table.blockSize) / SECTOR;
  for (let grain = 0; grain * table.blockSize < size; ) {
    let host: number;
    try {
      host = table.hostOf(grain);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      report(`ERROR: could not get cluster_offset for sector ${sectorOf(grain)}`);
      return { corruptions: 1, failed: true };
    }
    if (host >= fileSize) {
      report(`ERROR: cluster offset for sector ${sectorOf(grain)} points after EOF`);
      return { corruptions: 1, failed: true };
    }
    grain += host === UNALLOCATED ? table.alike : 1;
  }
  return { corruptions: 0, failed: false };
}
