/** Images of the read-only formats, made by qemu-img; and how to change one and keep its checksums valid. */
import { existsSync } from "node:fs";
import type { ReadOnlyFormat } from "../../src/images/formats.ts";
import { crc32c } from "../../src/images/vhdx/crc32c.ts";
import { qemuImg } from "./qemu-tools.ts";

export interface Kind {
  readonly name: string;
  readonly format: ReadOnlyFormat;
  readonly options: string;
}

/** Every supported kind. `force_size`: the size of the disk need not fit a geometry of cylinders. */
export const KINDS: readonly Kind[] = [
  { name: "monolithicSparse", format: "vmdk", options: "subformat=monolithicSparse" },
  { name: "zeroedGrain", format: "vmdk", options: "subformat=monolithicSparse,zeroed_grain=on" },
  { name: "streamOptimized", format: "vmdk", options: "subformat=streamOptimized" },
  { name: "dynamic", format: "vpc", options: "subformat=dynamic,force_size=on" },
  { name: "dynamicGeometry", format: "vpc", options: "subformat=dynamic" },
  { name: "fixed", format: "vpc", options: "subformat=fixed,force_size=on" },
  { name: "dynamic", format: "vhdx", options: "subformat=dynamic,block_size=1M" },
  { name: "fixed", format: "vhdx", options: "subformat=fixed" },
  { name: "dynamic", format: "vdi", options: "static=off" },
  { name: "static", format: "vdi", options: "static=on" },
];

/** Makes an image of a raw disk. @returns its path: "disk-dynamic.vhdx" for "disk.raw" */
export function makeForeign(raw: string, { name, format, options }: Kind): string {
  const path = raw.replace(/\.raw$/, `-${name}.${format}`);
  if (!existsSync(path)) qemuImg("convert", "-f", "raw", "-O", format, "-o", options, raw, path);
  return path;
}

/** Recomputes the checksums of a VHD or VHDX image. */
export function sealChecksums(bytes: Buffer, format: ReadOnlyFormat): void {
  if (format === "vpc") {
    sealVhd(bytes, 0, 512, 64);
    sealVhd(bytes, bytes.length - 512, 512, 64);
    sealVhd(bytes, 512, 1024, 36);
  }
  if (format === "vhdx") {
    for (const at of [65536, 2 * 65536])
      bytes.writeUInt32LE(crc32c(bytes.subarray(at, at + 4096), 4), at + 4);
    for (const at of [3 * 65536, 4 * 65536])
      bytes.writeUInt32LE(crc32c(bytes.subarray(at, at + 65536), 4), at + 4);
  }
}

function sealVhd(bytes: Buffer, at: number, length: number, field: number): void {
  if (!/^(conectix|cxsparse)$/.test(bytes.toString("latin1", at, at + 8))) return;
  bytes.writeUInt32BE(0, at + field);
  const sum = bytes.subarray(at, at + length).reduce((sum, byte) => sum + byte, 0);
  bytes.writeUInt32BE(~sum >>> 0, at + field);
}
