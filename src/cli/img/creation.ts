/**
 * Options of create, convert and measure for a new image, the keys of `-o`, and
 * the line "Formatting …" that repeats them.
 *
 * Source: QEMU 11.1, block/qcow2.c (qcow2_create_opts), block/raw-format.c;
 * `qemu-img create -o help`. Not supported: encryption.
 */
import { didYouMean } from "../../base/errors.ts";
import { each, text } from "../../config/value.ts";
import type { CreateImageOptions } from "../../image-tools/create-image.ts";
import { IMAGE_FORMATS, type WritableFormat } from "../../images/formats.ts";
import type { Preallocation } from "../../images/qcow2/preallocate.ts";
import { splitKeyValues } from "../key-values.ts";
import type { ImgError } from "./img-error.ts";
import { sizeOf } from "./sizes.ts";

/** Values by key, as the line shows them. */
export type Creation = Map<string, string>;

interface CreationKey {
  readonly name: string;
  readonly type: "size" | "str" | "bool" | "num";
  readonly help: string;
  /** An option of the file, in any format: help shows it only if the file is named, as QEMU does. */
  readonly ofFile?: true;
  /** Shown also if it is not given. */
  readonly default?: string;
}

// Hints for file systems of the host; accepted, without effect.
const NOCOW: CreationKey = {
  name: "nocow",
  type: "bool",
  help: "Turn off copy-on-write (valid only on btrfs)",
  ofFile: true,
};
const EXTENT_SIZE_HINT: CreationKey = {
  name: "extent_size_hint",
  type: "size",
  help: "Extent size hint for the image file, 0 to disable",
  ofFile: true,
};

/** In the order of the line. */
const KEYS: readonly CreationKey[] = [
  { name: "cluster_size", type: "size", help: "qcow2 cluster size", default: "65536" },
  { name: "extended_l2", type: "bool", help: "Extended L2 tables", default: "off" },
  {
    name: "preallocation",
    type: "str",
    help: "Preallocation mode (allowed values: off, metadata, falloc, full)",
  },
  {
    name: "compression_type",
    type: "str",
    help: "Compression method used for image cluster compression",
    default: "zlib",
  },
  { name: "size", type: "size", help: "Virtual disk size" },
  { name: "compat", type: "str", help: "Compatibility level (v2 [0.10] or v3 [1.1])" },
  { name: "backing_file", type: "str", help: "File name of a base image" },
  { name: "backing_fmt", type: "str", help: "Image format of the base image" },
  { name: "data_file", type: "str", help: "File name of an external data file" },
  {
    name: "data_file_raw",
    type: "bool",
    help: "The external data file must stay valid as a raw image",
  },
  { name: "lazy_refcounts", type: "bool", help: "Postpone refcount updates", default: "off" },
  {
    name: "refcount_bits",
    type: "num",
    help: "Width of a reference count entry in bits",
    default: "16",
  },
  NOCOW,
  EXTENT_SIZE_HINT,
];

/** Of raw images. */
const RAW_KEYS: readonly CreationKey[] = [
  { name: "size", type: "size", help: "Virtual disk size" },
  NOCOW,
  {
    name: "preallocation",
    type: "str",
    help: "Preallocation mode (allowed values: off, falloc, full)",
    ofFile: true,
  },
  EXTENT_SIZE_HINT,
];

const PLACEHOLDERS = { size: "<size>", str: "<str>", bool: "<bool (on/off)>", num: "<num>" };

function keysOf(format: WritableFormat): readonly CreationKey[] {
  return format === "qcow2" ? KEYS : RAW_KEYS;
}

/** An option for the format of a new image. */
export function targetFormatRow(names: readonly string[]) {
  return {
    names,
    type: text("FMT"),
    default: "raw",
    help: "the format of the new image: raw (default) or qcow2",
  } as const;
}

/**
 * The options that say how an image is made.
 * @param letter with `word` the name of the option for its format
 * @param long of `-o`
 */
export function targetRows(letter: string, word: string, long: readonly string[]) {
  return {
    targetFormat: targetFormatRow([letter, word]),
    creation: {
      names: ["o", ...long],
      type: each(text("FMT_OPTS")),
      default: [],
      help: "options of the format, KEY=VALUE,…; 'help' lists them",
    },
  } as const;
}

/** The options that name a backing file. @param letters of its format */
export function backingRows(...letters: readonly string[]) {
  return {
    backing: {
      names: ["b", "backing"],
      type: text("BACKING_FILE"),
      help: "the backing file, relative to the image's folder; '' for none",
    },
    backingFormat: {
      names: [...letters, "backing-format"],
      type: text("BACKING_FMT"),
      help: "the format of BACKING_FILE; required",
    },
  } as const;
}

/** An option that names a snapshot to read. */
export function snapshotRow(names: readonly string[]) {
  const help = "the disk as it was then: an id or a name, or snapshot.id=ID,snapshot.name=NAME";
  return { names, type: text("SNAPSHOT"), help } as const;
}

/** Reads the words of all `-o`. @param fail makes the error of a sentence */
export function parseCreation(
  texts: readonly string[],
  format: WritableFormat,
  fail: (sentence: string) => ImgError,
): Creation {
  const keys = keysOf(format);
  const creation: Creation = new Map();
  for (const { key, value } of texts.flatMap((text) => splitKeyValues(text))) {
    const row = keys.find(({ name }) => name === key);
    if (row === undefined && /^encrypt(ion$|\.)/.test(key)) throw fail("This version cannot encrypt images");
    if (row === undefined) {
      const names = keys.map(({ name }) => name);
      throw fail(`Invalid parameter '${key}'${didYouMean(key, names)}`);
    }
    creation.set(key, shown(row, value, fail));
  }
  return creation;
}

function shown({ name, type }: CreationKey, value: string, fail: (sentence: string) => ImgError): string {
  switch (type) {
    case "str":
      return value;
    case "bool":
      if (value === "on" || value === "off") return value;
      throw fail(`Parameter '${name}' expects 'on' or 'off'`);
    case "num":
      if (/^\d{1,15}$/.test(value)) return String(Number(value));
      throw fail(`Parameter '${name}' expects a number`);
    case "size": {
      const bytes = sizeOf(value);
      if (bytes !== undefined) return String(bytes);
      throw fail(
        `Parameter '${name}' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.`,
      );
    }
  }
}

/** "fmt=qcow2 cluster_size=65536 …" */
export function creationText(creation: Creation, format: WritableFormat): string {
  const words = keysOf(format).flatMap(({ name, default: standard }) => {
    const value = creation.get(name) ?? standard;
    return value === undefined ? [] : [` ${name}=${value.replaceAll(",", ",,")}`];
  });
  return `fmt=${format}${words.join("")}`;
}

/** The answer to `-o help`. @param path of the image, if it was named: options of the file are then listed too */
export function creationHelp(format: WritableFormat, path: string | undefined): string {
  const lines = keysOf(format)
    .filter(({ ofFile }) => path !== undefined || ofFile === undefined)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, type, help }) => `  ${`${name}=${PLACEHOLDERS[type]}`.padEnd(22)} - ${help}\n`)
    .join("");
  if (path !== undefined) return `Supported options:\n${lines}`;
  return `Supported ${format} options:\n${lines}
The protocol level may support further options.
Specify the target filename to include those options.
`;
}

/** True if one of the words of `-o` asks for help. */
export function asksForHelp(texts: readonly string[]): boolean {
  return texts.some((text) => splitKeyValues(text).some(({ key }) => key === "help" || key === "?"));
}

const VERSIONS: ReadonlyMap<string, 2 | 3> = new Map([
  ["0.10", 2],
  ["v2", 2],
  ["1.1", 3],
  ["v3", 3],
]);
export const PREALLOCATIONS: readonly Preallocation[] = ["off", "metadata", "falloc", "full"];

/**
 * The options of the library. The size is in `creation`.
 * @param fail makes the error of a sentence
 */
export function createOptions(
  creation: Creation,
  format: WritableFormat,
  fail: (sentence: string) => ImgError,
): CreateImageOptions {
  const size = Number(creation.get("size"));
  const preallocation = preallocationNamed(creation.get("preallocation") ?? "off", (value) =>
    fail(`Parameter 'preallocation' does not accept value '${value}'`),
  );
  if (format === "raw") return { format, size, preallocation };
  const compat = creation.get("compat") ?? "1.1";
  const version = VERSIONS.get(compat);
  if (version === undefined) throw fail(`Parameter 'version' does not accept value '${compat}'`);
  const isOn = (key: string) => creation.get(key) === "on";
  const backingFile = creation.get("backing_file");
  const backingFormat = creation.get("backing_fmt");
  const dataFile = creation.get("data_file");
  const refcountBits = Number(creation.get("refcount_bits") ?? 16);
  if (backingFormat !== undefined && backingFile === undefined) {
    throw fail("Backing format cannot be used without backing file");
  }
  if (version === 2) refuseForVersion2(creation, refcountBits, fail);
  const compression = creation.get("compression_type") ?? "zlib";
  if (compression !== "zlib" && compression !== "zstd")
    throw fail(`Parameter 'compression-type' does not accept value '${compression}'`);
  if (backingFile !== undefined && preallocation !== "off" && !isOn("extended_l2")) {
    throw fail("Backing file and preallocation can only be used at the same time if extended_l2 is on");
  }
  return {
    format,
    size,
    version,
    preallocation,
    refcountBits,
    clusterSize: Number(creation.get("cluster_size") ?? 65536),
    lazyRefcounts: isOn("lazy_refcounts"),
    extendedL2: isOn("extended_l2"),
    compressionType: compression,
    dataFileRaw: isOn("data_file_raw"),
    ...(backingFile !== undefined && { backingFile }),
    ...(backingFormat !== undefined && {
      backingFormat: IMAGE_FORMATS.find((known) => known === backingFormat) ?? "raw",
    }),
    ...(dataFile !== undefined && { dataFile }),
    // Named on the command line, so it may be anywhere; backing files are not opened.
    otherFiles: dataFile === undefined ? "none" : "anywhere",
  };
}

function refuseForVersion2(
  creation: Creation,
  refcountBits: number,
  fail: (sentence: string) => ImgError,
): void {
  const newer = "with compatibility level 1.1 and above (use version=v3 or greater)";
  if (creation.get("lazy_refcounts") === "on") throw fail(`Lazy refcounts only supported ${newer}`);
  if (refcountBits !== 16) {
    throw fail(
      "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)",
    );
  }
  if (creation.get("data_file") !== undefined) throw fail(`External data files are only supported ${newer}`);
  if (creation.get("extended_l2") === "on") throw fail(`Extended L2 entries are only supported ${newer}`);
  const compression = creation.get("compression_type") ?? "zlib";
  if (compression !== "zlib") throw fail(`Non-zlib compression type is only supported ${newer}`);
}

/** @param fail makes the error for another value */
export function preallocationNamed(value: string, fail: (value: string) => ImgError): Preallocation {
  const known = PREALLOCATIONS.find((name) => name === value);
  if (known === undefined) throw fail(value);
  return known;
}
