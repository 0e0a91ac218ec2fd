/**
 * A snapshot as one file, for places that have room for bytes and not for folders:
 * the VM state of a snapshot in a qcow2 image.
 *
 * Source: docs/snapshot-format.md.
 */
import { closeSync, ftruncateSync, openSync, readdirSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { MIB } from "../base/units.ts";
import { HostFile } from "../sys/file.ts";
import { SnapshotError } from "./snapshot-error.ts";
import { isSnapshotFile } from "./snapshot-folder.ts";

const MAGIC = "VMXSAVED";
const FORMAT = 1;
const HEADER_BYTES = 16; // magic, format, length of the index
const ALIGNMENT = 4096;
/** Of zeros that are left out. */
const UNIT = 64 * 1024;
const MAX_INDEX_BYTES = 64 * MIB;
const PIECE = MIB;

/** One file of the snapshot. What is in no run is zeros. */
interface PackedFile {
  readonly name: string;
  readonly size: number;
  readonly runs: readonly (readonly [offset: number, length: number])[];
}

/** Writes all files of the snapshot in `folder` to a new file. */
export function packSnapshot(folder: string, path: string): void {
  const files = readdirSync(folder).map((name) => packed(folder, name));
  const index = Buffer.from(JSON.stringify({ files }));
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC);
  header.writeUInt32LE(FORMAT, MAGIC.length);
  header.writeUInt32LE(index.length, MAGIC.length + 4);
  const to = openSync(path, "wx");
  try {
    writeSync(to, header, 0, header.length, 0);
    writeSync(to, index, 0, index.length, HEADER_BYTES);
    copyRuns(files, dataOffset(index.length), (file, offset, at, length) => {
      using from = HostFile.open(join(folder, file.name), { readOnly: true });
      eachPiece(length, (done, piece) => {
        writeSync(to, piece, 0, from.read(piece, offset + done), at + done);
      });
    });
  } finally {
    closeSync(to);
  }
}

/** Makes the files of a packed snapshot in `folder`. @throws {SnapshotError} for a file that is not one, or was altered */
export function unpackSnapshot(path: string, folder: string, shown: string): void {
  const from = openSync(path, "r");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    readSync(from, header, 0, HEADER_BYTES, 0);
    if (header.toString("latin1", 0, MAGIC.length) !== MAGIC) {
      throw new SnapshotError(shown, "its VM state is not of vmexit; the program that saved it can load it");
    }
    const format = header.readUInt32LE(MAGIC.length);
    const length = header.readUInt32LE(MAGIC.length + 4);
    if (format !== FORMAT || length > MAX_INDEX_BYTES) {
      throw new SnapshotError(
        shown,
        `its VM state has format ${format}; this version of vmexit reads format ${FORMAT}`,
      );
    }
    const index = Buffer.alloc(length);
    readSync(from, index, 0, length, HEADER_BYTES);
    const files = parseIndex(index.toString(), shown);
    for (const { name, size } of files) {
      const to = openSync(join(folder, name), "wx");
      ftruncateSync(to, size);
      closeSync(to);
    }
    copyRuns(files, dataOffset(length), (file, offset, at, bytes) => {
      const to = openSync(join(folder, file.name), "r+");
      try {
        eachPiece(bytes, (done, piece) => {
          const got = readSync(from, piece, 0, piece.length, at + done);
          writeSync(to, piece, 0, got, offset + done);
        });
      } finally {
        closeSync(to);
      }
    });
  } finally {
    closeSync(from);
  }
}

function packed(folder: string, name: string): PackedFile {
  using file = HostFile.open(join(folder, name), { readOnly: true });
  const { size } = file;
  const runs: [number, number][] = [];
  for (let at = file.nextData(0); at < size; ) {
    const end = Math.min(size, Math.ceil(file.nextHole(at) / UNIT) * UNIT);
    const start = Math.floor(at / UNIT) * UNIT;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] >= start) last[1] = end - last[0];
    else runs.push([start, end - start]);
    at = end < size ? file.nextData(end) : size;
  }
  return { name, size, runs };
}

function dataOffset(indexBytes: number): number {
  return Math.ceil((HEADER_BYTES + indexBytes) / ALIGNMENT) * ALIGNMENT;
}

function copyRuns(
  files: readonly PackedFile[],
  start: number,
  copy: (file: PackedFile, offset: number, at: number, length: number) => void,
): void {
  let at = start;
  for (const file of files) {
    for (const [offset, length] of file.runs) {
      copy(file, offset, at, length);
      at += Math.ceil(length / ALIGNMENT) * ALIGNMENT;
    }
  }
}

function eachPiece(length: number, work: (done: number, piece: Uint8Array) => void): void {
  const buffer = new Uint8Array(Math.min(PIECE, length));
  for (let done = 0; done < length; done += buffer.length) {
    work(done, buffer.subarray(0, Math.min(buffer.length, length - done)));
  }
}

/** Whatever is in it: names of other files would be written outside of the folder. */
function parseIndex(text: string, shown: string): PackedFile[] {
  const wrong = () => new SnapshotError(shown, "its VM state was altered");
  let parsed: { readonly files?: unknown };
  try {
    parsed = JSON.parse(text);
  } catch {
    throw wrong();
  }
  const { files } = Object(parsed);
  if (!Array.isArray(files)) throw wrong();
  return files.map((given: unknown) => {
    const { name, size, runs } = Object(given);
    if (typeof name !== "string" || !isSnapshotFile(name) || !isCount(size) || !Array.isArray(runs))
      throw wrong();
    return {
      name,
      size,
      runs: runs.map((run: unknown) => {
        if (!Array.isArray(run)) throw wrong();
        const [offset, length] = run;
        if (!isCount(offset) || !isCount(length) || offset + length > size) throw wrong();
        return [offset, length] as const;
      }),
    };
  });
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
