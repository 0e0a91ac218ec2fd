/**
 * The one description of an option. A table has a row for each option of a part;
 * from it come the types of `createVm`, the checks, the defaults, the keys of
 * QEMU's options on the command line, help, and the tables of the manuals.
 *
 * The comment above a row is what an editor shows for the field. It is written from
 * the row's `help` by scripts/option-docs.mjs, as are the tables in docs/.
 */
import { didYouMean, OptionError } from "../base/errors.ts";
import { array, type Kind, object } from "./value.ts";

export interface Row {
  readonly type: Kind<unknown> | Nested<unknown, unknown>;
  /** As a program would give it. A row without one is undefined when it is left out. */
  readonly default?: unknown;
  /** The option cannot be left out: what to give. */
  readonly required?: string;
  /** A clause without a period. It serves a program's option and a command line's. */
  readonly help: string;
  /** The default in words, where it is not a constant. */
  readonly otherwise?: string;
  /** Where the manual says more: a link from a page in docs/. */
  readonly see?: string;
  readonly qemu?: QemuKeys;
  /** Other keys that set the same, in another unit. */
  readonly also?: readonly Pick<Row, "type" | "help" | "otherwise" | "qemu">[];
}

/** The names of a key by the option of QEMU's that has it; help shows the first. */
export interface QemuKeys {
  /** In the table of one option of the command's own. */
  readonly option?: readonly string[];
  readonly drive?: readonly string[];
  readonly device?: readonly string[];
  /** -blockdev with any driver; with a driver for files; with one for image formats. */
  readonly node?: readonly string[];
  readonly file?: readonly string[];
  readonly format?: readonly string[];
  /** A -device may say "auto": as the drive says. */
  readonly auto?: true;
  /** The command's default, if it is not that of a program. */
  readonly default?: string;
}

export type Place = Exclude<keyof QemuKeys, "auto" | "default">;

export type Table = Readonly<Record<string, Row>>;

type In<R> = R extends { type: Kind<infer I, infer _> } ? I : never;
type Out<R> = R extends { type: Kind<infer _, infer O> } ? O : never;
type Required = { required: string };
/** The rows that cannot be left out. */
type RequiredIn<T extends Table> = { [K in keyof T]: T[K] extends Required ? K : never }[keyof T];
/** One object type for an intersection, which editors show better. */
type Flat<T> = { [K in keyof T]: T[K] };

/** What a program may give. */
export type Options<T extends Table> = [RequiredIn<T>] extends [never]
  ? { readonly [K in keyof T]?: In<T[K]> }
  : Flat<
      { readonly [K in keyof T as T[K] extends Required ? K : never]: In<T[K]> } & {
        readonly [K in keyof T as T[K] extends Required ? never : K]?: In<T[K]>;
      }
    >;

/** The same checked, with every default filled in. */
export type Filled<T extends Table> = {
  readonly [K in keyof T]: T[K] extends Required | { default: unknown } ? Out<T[K]> : Out<T[K]> | undefined;
};

/** A table, with defaults that fit their rows. */
export function table<const T extends Table>(rows: T & { [K in keyof T]: { default?: In<T[K]> } }): T {
  return rows;
}

/**
 * Checks `given` and fills in the defaults.
 *
 * @param where begins error messages, as in "drives[0]"; empty for the machine itself
 * @throws {OptionError} that names the option, what was given and what would do
 */
export function fill<T extends Table>(table: T, given: unknown, where: string): Filled<T>;
export function fill(table: Table, given: unknown, where: string): object {
  const title = where === "" ? "createVm" : where;
  if (typeof given !== "object" || given === null) {
    throw new OptionError(`${title}: ${String(given)} is not an object`);
  }
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(table, name)) continue;
    throw new OptionError(`${title}: unknown option "${name}"${didYouMean(name, Object.keys(table))}`);
  }
  const filled: Record<string, unknown> = {};
  for (const [name, row] of Object.entries(table)) {
    const path = where === "" ? name : `${where}.${name}`;
    const value: unknown = Reflect.get(given, name) === undefined ? row.default : Reflect.get(given, name);
    if (value === undefined && row.required !== undefined) {
      throw new OptionError(`${path}: missing; ${row.required}`);
    }
    filled[name] = value === undefined ? undefined : check(row.type, value, path);
  }
  return filled;
}

/** An object, or an array of objects, that has options of its own. */
export interface Nested<I, O> extends Kind<I, O> {
  readonly rows: Table;
}

/** An object with options of its own. */
export function group<T extends Table>(rows: T): Nested<Options<T>, Filled<T>>;
export function group(rows: Table): Nested<object, object> {
  const manual = `\`{ ${Object.keys(rows).join(", ")} }\``;
  return { rows, ...object(), manual };
}

/** An array of objects with options of their own. */
export function list<T extends Table>(rows: T): Nested<readonly Options<T>[], readonly Filled<T>[]>;
export function list(rows: Table): Nested<readonly object[], readonly object[]> {
  return { rows, ...array() };
}

function check(kind: Kind<unknown> | Nested<unknown, unknown>, value: unknown, path: string): unknown {
  const checked = kind.check(value, (sentence) => new OptionError(`${path}: ${sentence}`));
  if (!("rows" in kind)) return checked;
  if (!Array.isArray(checked)) return fill(kind.rows, checked, path);
  return checked.map((each, index) => fill(kind.rows, each, `${path}[${index}]`));
}
