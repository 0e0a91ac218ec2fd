/** Checks of values that a program gave, with errors that quote what was given and say what would do. */
import { didYouMean, OptionError } from "../base/errors.ts";

export type Kind = "string" | "size" | "number" | "bytes" | "array" | "boolean" | "function" | "object";

/** @throws {OptionError} for a key that is not known, or a value of another kind. `where` begins the message. */
export function checkKeys(where: string, value: object, keys: Readonly<Record<string, Kind>>): void {
  if (typeof value !== "object" || value === null)
    throw new OptionError(`${where}: ${String(value)} is not an object`);
  for (const [key, given] of Object.entries(value)) {
    const kind = Object.hasOwn(keys, key) ? keys[key] : undefined;
    if (kind === undefined) {
      throw new OptionError(`${where}: unknown option "${key}"${didYouMean(key, Object.keys(keys))}`);
    }
    if (given !== undefined && !isKind(given, kind)) {
      throw new OptionError(`${where}.${key}: ${describe(given)} is not ${KIND_NAMES[kind]}`);
    }
  }
}

const KIND_NAMES: Record<Kind, string> = {
  string: "a string",
  size: 'a number of bytes or a string such as "256M"',
  number: "a number",
  bytes: "a path or a Uint8Array",
  array: "an array",
  boolean: "true or false",
  function: "a function",
  object: "an object",
};

function isKind(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case "size":
      return typeof value === "number" || typeof value === "string";
    case "bytes":
      return typeof value === "string" || value instanceof Uint8Array;
    case "array":
      return Array.isArray(value);
    case "object":
      return typeof value === "object" && value !== null;
    default:
      return typeof value === kind;
  }
}

export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/** @throws {OptionError} unless `value` is a whole number in a range. */
export function integer(what: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new OptionError(`${what}: ${value} is out of range; give a whole number from ${least} to ${most}`);
  }
  return value;
}

/** One of the known words. @throws {OptionError} for another. */
export function oneOf<const T extends string>(what: string, value: string, known: readonly T[]): T {
  const found = known.find((word) => word === value);
  if (found !== undefined) return found;
  const advice = didYouMean(value, known) || ` (known: ${known.join(", ")})`;
  throw new OptionError(`${what}: unknown value "${value}"${advice}`);
}
