/** The keys of QEMU's options: what rows of tables are called on a command line, and how they are read there. */
import { didYouMean } from "../base/errors.ts";
import type { Options, Place, Row, Table } from "./schema.ts";
import type { Kind, Refuse } from "./value.ts";

/** `key=value`, as typed. */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

interface Key {
  /** Help shows all of them; errors begin with the first. */
  readonly names: readonly string[];
  readonly shown: string;
  readonly help: string;
  /** In words; undefined if there is none. */
  readonly default: string | undefined;
  readonly required: string | undefined;
  readonly isAuto: boolean;
  readonly type: Kind<unknown>;
  /** The field that it sets, from the outermost object in. */
  readonly field: readonly string[];
}

/** Keys by which a command line fills an object of type `O`. */
export interface Keys<O> {
  readonly keys: readonly Key[];
  /** Never there: it carries the type. */
  readonly filled?: O;
}

/** The rows that have a key in `place`; of an option's own table all, by default under the field's name. */
export function keysOf<T extends Table>(table: T, place: Place = "option"): Keys<Partial<Options<T>>> {
  return { keys: keysBelow(table, place, []) };
}

export function together<A, B>(first: Keys<A>, second: Keys<B>): Keys<A & B> {
  return { keys: [...first.keys, ...second.keys] };
}

function keysBelow(table: Table, place: Place, outer: readonly string[]): Key[] {
  return Object.entries(table).flatMap(([name, row]) => {
    const field = [...outer, name];
    if ("rows" in row.type) return keysBelow(row.type.rows, place, field);
    return [row, ...(row.also ?? [])].flatMap((row) => {
      const names = row.qemu?.[place] ?? (place === "option" ? [name] : undefined);
      return names === undefined ? [] : [keyOf(row, names, field, place)];
    });
  });
}

function keyOf(row: Row, names: readonly string[], field: readonly string[], place: Place): Key {
  const { type, help, required, qemu } = row;
  const isAuto = place === "device" && qemu?.auto === true;
  return {
    names,
    shown: isAuto ? `${type.shown}|auto` : type.shown,
    help,
    default: isAuto ? "auto, as the drive says" : defaultOf(row),
    required,
    isAuto,
    type,
    field,
  };
}

function defaultOf({ default: value, otherwise, qemu }: Row): string | undefined {
  if (qemu?.default !== undefined) return qemu.default;
  if (otherwise !== undefined) return otherwise;
  if (typeof value === "boolean") return value ? "on" : "off";
  return value === undefined || value === 0 ? undefined : String(value);
}

/** The command's defaults where they are not those of a program. */
export function commandDefaults<T extends Table>(table: T): Partial<Options<T>>;
export function commandDefaults(table: Table): object {
  const rows = Object.entries(table).filter(([, { qemu }]) => qemu?.default !== undefined);
  return Object.fromEntries(rows.map(([name, { qemu }]) => [name, qemu?.default]));
}

/**
 * Reads `pairs`. The last of two that set one field counts; lists add up.
 * @throws what `complain` makes, on a key that is not there, and on a value that does not fit
 */
export function readKeys<O>(pairs: readonly KeyValue[], keys: Keys<O>, complain: Refuse): O;
export function readKeys(pairs: readonly KeyValue[], { keys }: Keys<unknown>, complain: Refuse): object {
  const read: Record<string, unknown> = {};
  for (const { key, value } of pairs) {
    if (key === "") throw complain("a key is missing; a comma inside a value is written twice");
    const row = keys.find(({ names }) => names.includes(key));
    if (row === undefined) {
      const names = keys.flatMap((each) => each.names);
      throw complain(`unknown key "${key}"${didYouMean(key, names)}`);
    }
    const { names, shown, type, field, isAuto } = row;
    if (value === "") throw complain(`the key "${key}" needs a value: ${key}=${shown}`);
    if (isAuto && value === "auto") continue;
    const parsed = type.parse(value, (sentence) => complain(`${names[0]}=${sentence}`));
    set(read, field, parsed);
  }
  const missing = keys.find(
    ({ required, field }) => required !== undefined && !Object.hasOwn(read, field[0]),
  );
  if (missing?.required !== undefined) throw complain(missing.required);
  return read;
}

/** The fields of `read` that are options of `table`. */
export function pickOptions<T extends Table>(table: T, read: object): Partial<Options<T>>;
export function pickOptions(table: Table, read: object): object {
  return Object.fromEntries(Object.entries(read).filter(([name]) => Object.hasOwn(table, name)));
}

function set(target: Record<string, unknown>, [name, ...inner]: readonly string[], value: unknown): void {
  const before = target[name];
  if (inner.length > 0) {
    const nested = { ...Object(before) };
    set(nested, inner, value);
    target[name] = nested;
  } else if (Array.isArray(before) && Array.isArray(value)) target[name] = [...before, ...value];
  else target[name] = value;
}

function remarkOn({ required, type, default: value }: Key): string {
  if (required !== undefined) return " (required)";
  if (type.repeats === true) return " (may be repeated)";
  return value === undefined ? "" : ` (default: ${value})`;
}

/** What help says of each key: how it is written, and what it does. Rows without help are not shown. */
export function keyHelp({ keys }: Keys<unknown>): [string, string][] {
  return keys
    .filter(({ help }) => help !== "")
    .map((key) => {
      return [`${key.names.join("|")}=${key.shown}`, key.help + remarkOn(key)];
    });
}
