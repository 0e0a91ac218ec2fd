/**
 * The descriptor of a VMDK disk: lines of text with its kind and its files. It is read
 * to check that the disk is only this file; a file that it names is never opened.
 *
 * Source: VMware, Virtual Disk Format 5.0, "The Descriptor File", whose names are used.
 */

/** A parentCID without a parent. */
const NO_PARENT = 0xffff_ffff;

const SUPPORTED_TYPES = ["monolithicSparse", "streamOptimized"];
const SUPPORTED = `${SUPPORTED_TYPES.join(" and ")} are supported`;

export interface Descriptor {
  /** Identifies the contents of the disk; changes with the first write after opening. */
  readonly cid: number;
  readonly parentCid: number;
}

/** True for the text of a descriptor: comments and blank lines, then its version. */
export function looksLikeDescriptor(text: string): boolean {
  return /^(?:#[^\n]*\n| *\r?\n)*version=[123]\r?\n/.test(text);
}

/** @param refuse throws an error about it */
export function parseDescriptor(text: string, refuse: (why: string) => never): Descriptor {
  const createType = /^createType\s*=\s*"([^"\n]*)"/m.exec(text)?.[1] ?? "";
  if (!SUPPORTED_TYPES.includes(createType)) {
    refuse(`it is of the type ${JSON.stringify(createType)}, a disk that is not in one file; ${SUPPORTED}`);
  }
  const cid = hexValue(text, "CID");
  const parentCid = hexValue(text, "parentCID");
  if (cid === undefined || parentCid === undefined) return refuse("its descriptor lacks CID or parentCID");
  if (parentCid !== NO_PARENT || /^parentFileNameHint/m.test(text)) {
    refuse("it is part of a chain of snapshots, which depends on another file; clone it to a whole one");
  }
  const extents = text.match(/^(?:RW|RDONLY|NOACCESS)\s.*$/gm) ?? [];
  if (extents.length !== 1 || !/^(?:RW|RDONLY)\s+\d+\s+SPARSE\s/.test(extents[0])) {
    refuse(`its disk lies in ${extents.length} files, or in one that is not sparse; ${SUPPORTED}`);
  }
  return { cid, parentCid };
}

/** The error for a descriptor without a disk behind it. */
export function whyNotAlone(text: string): string {
  const type = /^createType\s*=\s*"([^"\n]*)"/m.exec(text)?.[1] ?? "unknown";
  return `it only describes a disk (of the type ${JSON.stringify(type)}) that lies in other files, which are not followed; ${SUPPORTED}`;
}

function hexValue(text: string, name: string): number | undefined {
  const digits = new RegExp(`^${name}\\s*=\\s*([0-9a-f]{1,8})\\s*$`, "im").exec(text)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}
