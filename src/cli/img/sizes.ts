/** Sizes as qemu-img reads and prints them. Source: QEMU util/cutils.c, qemu_strtosz and size_to_str. */
import { type Kind, typed } from "../../config/value.ts";
import { ImgError } from "./img-error.ts";

const SUFFIXES = "bkmgtpe";
const UNITS = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/**
 * Bytes: "1.5G", "512k", "0x1000", "4096". Fractions of a byte are dropped.
 * Undefined for what is not a size, is negative, or is 2^53 bytes or more.
 */
export function sizeOf(text: string): number | undefined {
  const match = /^(?:(0x[0-9a-f]+)|(\d+(?:\.\d*)?)([bkmgtpe]?))$/i.exec(text);
  if (match === null) return undefined;
  const [, hex, digits, suffix = ""] = match;
  if (digits?.includes(".") && (suffix === "" || suffix.toLowerCase() === "b")) return undefined;
  const unit = 1024 ** Math.max(0, SUFFIXES.indexOf(suffix.toLowerCase()));
  const bytes = hex === undefined ? Math.floor(Number(digits) * unit) : Number(hex);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** @param what as in "Invalid image size specified" @throws {ImgError} */
export function parseSize(text: string, what: string): number {
  const bytes = sizeOf(text);
  if (bytes !== undefined) return bytes;
  if (/^\d+[kmgtpe]?$/i.test(text)) throw sizeRangeError(what, 0, Number.MAX_SAFE_INTEGER);
  throw new ImgError(`Invalid ${what} specified: '${text}'`);
}

/** An option's value that is a size. */
export function sizeKind(what: string, shown = "SIZE"): Kind<number> {
  return typed(shown, (text) => parseSize(text, what));
}

export function sizeRangeError(what: string, least: number, most: number): ImgError {
  return new ImgError(`Invalid ${what} specified. Must be between ${least} and ${most}.`);
}

/** "1.32 MiB", with three digits. */
export function sizeText(bytes: number): string {
  // A unit starts at 1000 of the one below, so that three digits are enough.
  let unit = 0;
  while (bytes / 1024 ** unit >= 1000) unit++;
  const value = bytes / 1024 ** unit;
  const rounded = Number(fixed(value, value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3));
  return `${rounded >= 1000 ? "1e+03" : rounded} ${UNITS[unit]}B`;
}

/** As printf's "%.2f" has it: what lies in the middle goes to the even digit. */
export function fixed(value: number, digits: number): string {
  const scaled = value * 10 ** digits;
  const below = Math.floor(scaled);
  const isTie = scaled - below === 0.5;
  return isTie ? ((below + (below % 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
}
