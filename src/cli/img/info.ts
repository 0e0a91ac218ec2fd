/** `vmexit img info`: prints what an image is. Source: QEMU 11.1, block/qapi.c. */
import { statSync } from "node:fs";
import { describeImage, type ImageDescription, type Qcow2Description } from "../../image-tools/describe.ts";
import { fileNamed, hasProtocol, nameOfFile } from "../../images/file-name.ts";
import { resolveOtherFile } from "../../images/other-file.ts";
import type { BitmapDescription } from "../../images/qcow2/bitmap-directory.ts";
import type { VmdkDescription } from "../../images/read-only-image.ts";
import { hostPath } from "../../sys/host-path.ts";
import { backingPath } from "./backing.ts";
import { type ImgCommand, oneFile } from "./command.ts";
import {
  cacheRow,
  type FileOptions,
  FORMAT,
  OTHER_FILES,
  OUTPUT,
  open,
  REFUSED,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { ImgError } from "./img-error.ts";
import { jsonText } from "./json.ts";
import { flag, readCommandLine, refused } from "./options.ts";
import { sizeText } from "./sizes.ts";
import { icountOf, snapshotTable } from "./snapshot-text.ts";

const MAX_CHAIN = 200;

const OPTIONS = {
  ...FORMAT,
  ...OUTPUT,
  chain: flag(["backing-chain"], "show the backing files too"),
  ...SHARED,
  cache: cacheRow(["t", "cache"]),
  limits: refused(["limits"], "", "the limits are those of the host's file"),
  ...OTHER_FILES,
  ...REFUSED,
} as const;

export const info: ImgCommand = {
  name: "info",
  operands: "FILE",
  help: "prints what an image is",
  options: OPTIONS,
  run: (argv, { stdout }) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    const path = oneFile(operands);
    const images = draft.chain ? describeChain(path, draft) : [describe(path, draft)];
    if (draft.json) stdout.write(jsonText(draft.chain ? images.map(jsonOf) : jsonOf(images[0])));
    else stdout.write(images.map(textOf).join("\n"));
    return 0;
  },
};

function describe(path: string, draft: FileOptions): ImageDescription {
  using image = open(path, draft, { otherFiles: "none", repair: false });
  try {
    return describeImage(image);
  } catch (error) {
    throw new ImgError(`Could not read '${path}': ${whyNotOpened(path, error)}`);
  }
}

function describeChain(top: string, draft: FileOptions): readonly ImageDescription[] {
  const images: ImageDescription[] = [];
  const seen = new Set<string>();
  let path = top;
  let options = draft;
  for (;;) {
    const found = describe(path, options);
    path = found.path;
    const below = found.qcow2?.backingFile;
    if (below === undefined) return [...images, found];
    const { dev, ino } = statSync(hostPath(path), { bigint: true });
    if (seen.has(`${dev}:${ino}`)) throw new ImgError(`Backing file '${path}' creates an infinite loop.`);
    if (seen.size === MAX_CHAIN) throw new ImgError(`More than ${MAX_CHAIN} images are below '${top}'.`);
    seen.add(`${dev}:${ino}`);
    images.push(found);
    try {
      path = nameOfFile(
        resolveOtherFile(path, below, fileNamed(top), draft.otherFiles ?? "folder", "backing file"),
      );
    } catch (error) {
      throw new ImgError(`Could not open '${shownPath(path, below)}': ${whyNotOpened(path, error)}`);
    }
    options = { ...draft, format: found.qcow2?.backingFormat };
  }
}

function textOf(image: ImageDescription): string {
  const { path, format, size, storedBytes, clusterSize, qcow2, protocol, fileSize } = image;
  const specific = specificOf(image);
  const stored = storedBytes === undefined ? "unavailable" : sizeText(storedBytes);
  const lines = [
    `image: ${path}`,
    `file format: ${format}`,
    `virtual size: ${sizeText(size)} (${size} bytes)`,
    `disk size: ${stored}`,
    ...(clusterSize === undefined ? [] : [`cluster_size: ${clusterSize}`]),
    ...(qcow2 === undefined ? [] : qcow2Lines(path, qcow2)),
    ...(specific === undefined ? [] : ["Format specific information:", ...specificLines(specific)]),
    "Child node '/file':",
    `    filename: ${path}`,
    `    protocol type: ${protocol}`,
    `    file length: ${sizeText(fileSize)} (${fileSize} bytes)`,
    `    disk size: ${stored}`,
  ];
  return `${lines.join("\n")}\n`;
}

function qcow2Lines(path: string, qcow2: Qcow2Description): string[] {
  const { dirty, backingFile, backingFormat, snapshots } = qcow2;
  const lines: string[] = [];
  if (dirty) lines.push("cleanly shut down: no");
  if (backingFile !== undefined) {
    const actual = shownPath(path, backingFile);
    lines.push(`backing file: ${backingFile}${actual === backingFile ? "" : ` (actual path: ${actual})`}`);
  }
  if (backingFormat !== undefined) lines.push(`backing file format: ${backingFormat}`);
  if (snapshots.length > 0) lines.push(snapshotTable(snapshots).trimEnd());
  return lines;
}

/** A name with a protocol is shown as it is. */
function shownPath(image: string, name: string): string {
  return hasProtocol(name) ? name : backingPath(image, name);
}

/** An object's keys and values as lines; of an array, its numbers and values. */
function specificLines(values: object, indent = "    "): string[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const name = Array.isArray(values) ? `[${key}]` : key.replaceAll("-", " ");
    if (typeof value !== "object") return [`${indent}${name}: ${value}`];
    return [`${indent}${name}:`, ...specificLines(value, `${indent}    `)];
  });
}

type Facts = Record<string, unknown>;

/** Facts of one format, with keys in the order of both outputs. */
function specificOf({ path, size, qcow2, vmdk }: ImageDescription): Facts | undefined {
  if (vmdk !== undefined) return vmdkFacts(path, size, vmdk);
  return qcow2 === undefined ? undefined : qcow2Facts(qcow2);
}

function vmdkFacts(path: string, size: number, vmdk: VmdkDescription): Facts {
  const { cid, parentCid, createType, grainSize, compressed } = vmdk;
  const extent = { ...(compressed && { compressed }), "virtual-size": size, filename: path };
  return {
    cid,
    "parent-cid": parentCid,
    "create-type": createType,
    // QEMU gives the format of extents that a descriptor names; this extent is the image itself.
    extents: [{ ...extent, "cluster-size": grainSize, format: "" }],
  };
}

function qcow2Facts(qcow2: Qcow2Description): Facts {
  const {
    version,
    compression,
    lazyRefcounts,
    refcountBits,
    dataFile,
    dataFileRaw,
    corrupt,
    extendedL2,
    bitmaps,
  } = qcow2;
  return {
    compat: version === 2 ? "0.10" : "1.1",
    "compression-type": compression,
    ...(version === 3 && { "lazy-refcounts": lazyRefcounts }),
    ...(bitmaps.length > 0 && { bitmaps: bitmaps.map(bitmapOf) }),
    "refcount-bits": refcountBits,
    ...(dataFile !== undefined && { "data-file": dataFile, "data-file-raw": dataFileRaw }),
    ...(version === 3 && { corrupt, "extended-l2": extendedL2 }),
  };
}

function bitmapOf({ name, granularity, inUse, auto }: BitmapDescription): unknown {
  return { flags: [...(inUse ? ["in-use"] : []), ...(auto ? ["auto"] : [])], name, granularity };
}

function jsonOf(image: ImageDescription): unknown {
  const { path, format, size, storedBytes, clusterSize, qcow2 } = image;
  const backingFile = qcow2?.backingFile;
  const specific = specificOf(image);
  return {
    children: [{ name: "file", info: childJson(image) }],
    ...(qcow2?.backingFormat !== undefined && { "backing-filename-format": qcow2.backingFormat }),
    ...(qcow2 !== undefined && qcow2.snapshots.length > 0 && { snapshots: snapshotsJson(qcow2) }),
    "virtual-size": size,
    filename: path,
    ...(clusterSize !== undefined && { "cluster-size": clusterSize }),
    format,
    ...(storedBytes !== undefined && { "actual-size": storedBytes }),
    ...(specific !== undefined && {
      "format-specific": {
        type: format,
        data: specific,
      },
    }),
    ...(backingFile !== undefined && {
      "full-backing-filename": shownPath(path, backingFile),
      "backing-filename": backingFile,
    }),
    ...(storedBytes !== undefined && { "dirty-flag": qcow2?.dirty ?? false }),
  };
}

/** The file under the format. What a disk on a server occupies is not known. */
function childJson({ path, protocol, fileSize, storedBytes }: ImageDescription): unknown {
  return {
    children: [],
    "virtual-size": fileSize,
    filename: path,
    format: protocol,
    ...(storedBytes !== undefined && {
      "actual-size": storedBytes,
      "format-specific": { type: "file", data: {} },
      "dirty-flag": false,
    }),
  };
}

function snapshotsJson({ snapshots }: Qcow2Description): unknown {
  return snapshots.map((snapshot) => {
    const icount = icountOf(snapshot);
    return {
      ...(icount !== undefined && { icount: Number(icount) }),
      "vm-clock-nsec": snapshot.vmClock % 1_000_000_000,
      name: snapshot.name,
      "date-sec": snapshot.seconds,
      "date-nsec": snapshot.nanoseconds,
      "vm-clock-sec": Math.floor(snapshot.vmClock / 1_000_000_000),
      id: snapshot.id,
      "vm-state-size": snapshot.vmStateSize,
    };
  });
}
