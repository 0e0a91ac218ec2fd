/** `vmexit img map`: prints where the bytes of a disk are stored. Source: QEMU 11.1, qemu-img.c (img_map). */
import { type BlockStatus, blockStatus } from "../../disk/block-status.ts";
import { type ImgCommand, oneFile } from "./command.ts";
import { FORMAT, OTHER_FILES, OUTPUT, open, REFUSED, SHARED, whyNotOpened } from "./files.ts";
import { ImgError } from "./img-error.ts";
import { readCommandLine } from "./options.ts";
import { sizeKind } from "./sizes.ts";

const OPTIONS = {
  ...FORMAT,
  start: {
    names: ["s", "start-offset"],
    type: sizeKind("start offset", "OFFSET"),
    default: 0,
    help: "start at OFFSET of the disk",
  },
  length: {
    names: ["l", "max-length"],
    type: sizeKind("max length", "LENGTH"),
    help: "show at most LENGTH bytes",
  },
  ...OUTPUT,
  ...SHARED,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

export const map: ImgCommand = {
  name: "map",
  operands: "FILE",
  help: "prints where the bytes of a disk are stored",
  options: OPTIONS,
  run: (argv, { stdout }) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    const path = oneFile(operands);
    using image = open(path, draft);
    const { start } = draft;
    const end = draft.length === undefined ? image.size : Math.min(image.size, start + draft.length);
    const write = draft.json ? jsonLine : humanLine;
    if (!draft.json) stdout.write("Offset          Length          Mapped to       File\n");
    try {
      let entry = NOTHING;
      let lines = 0;
      for (let at = start; at < end; at += entry.length) {
        let next = blockStatus(image, at, end - at);
        while (at + next.length < end) {
          const after = blockStatus(image, at + next.length, end - at - next.length);
          if (!isMergeable(next, after)) break;
          next = { ...next, length: next.length + after.length };
        }
        entry = next;
        stdout.write(write(entry, lines++ === 0, at + entry.length >= end));
      }
      if (lines === 0) stdout.write(write({ ...NOTHING, start }, true, true));
    } catch (error) {
      throw error instanceof ImgError
        ? error
        : new ImgError(`Failed to read image metadata: ${whyNotOpened(path, error)}`);
    }
    return 0;
  },
};

/** Printed for an empty range. */
const NOTHING: BlockStatus = {
  start: 0,
  length: 0,
  depth: 0,
  allocated: false,
  zero: false,
  data: false,
  place: undefined,
};

function isMergeable(one: BlockStatus, next: BlockStatus): boolean {
  return (
    one.zero === next.zero &&
    one.data === next.data &&
    one.allocated === next.allocated &&
    one.depth === next.depth &&
    one.place?.path === next.place?.path &&
    (one.place === undefined || one.place.offset + one.length === next.place?.offset)
  );
}

function jsonLine(entry: BlockStatus, first: boolean, last: boolean): string {
  const { start, length, depth, allocated, zero, data, place } = entry;
  const offset = place === undefined ? "" : `, "offset": ${place.offset}`;
  const line = `{ "start": ${start}, "length": ${length}, "depth": ${depth}, "present": ${allocated}, "zero": ${zero}, "data": ${data}${offset}}`;
  return `${first ? "[" : ""}${line}${last ? "]\n" : ",\n"}`;
}

function humanLine({ start, length, zero, data, place }: BlockStatus): string {
  if (!data || zero) return "";
  if (place === undefined) {
    throw new ImgError("File contains external, encrypted or compressed clusters.");
  }
  return `${[start, length, place.offset].map((value) => hex(value).padEnd(16)).join("")}${place.path}\n`;
}

function hex(value: number): string {
  return value === 0 ? "0" : `0x${value.toString(16)}`;
}
