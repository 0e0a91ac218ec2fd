/** The devices that a machine may have, as `createVm` and `-device` name them. */
import { OptionError } from "../base/errors.ts";
import { type Filled, fill, type Options, type Row, type Table } from "./schema.ts";
import { array, type Kind, quoted, text } from "./value.ts";

/** What a device's defaults may depend on. */
export interface Around {
  readonly cpus: number;
  /** Its number among the devices of its kind. */
  readonly index: number;
}

/** One kind of device. `C` is its configuration: what the part of this kind is assembled from. */
export interface DeviceTable<T extends Table = Table, C extends object = object> {
  /** Of the part: "virtio-blk". */
  readonly kind: string;
  /** Its names for -device. */
  readonly names: readonly string[];
  readonly help: string;
  readonly options: T;
  /** Keys that -device has and a program has not. */
  readonly deviceKeys: Table;
  finish(filled: Filled<T>, where: string, around: Around): C;
}

interface Described<T extends Table> {
  readonly kind: string;
  readonly names: readonly string[];
  readonly help: string;
  readonly options: T;
  readonly deviceKeys?: Table;
}

interface Finished<T extends Table, C extends object> extends Described<T> {
  /** Checks what rows say of each other, and fills in the defaults that other options decide. */
  finish(filled: Filled<T>, where: string, around: Around): C;
}

export function device<const T extends Table, C extends object>(described: Finished<T, C>): DeviceTable<T, C>;
export function device<const T extends Table>(described: Described<T>): DeviceTable<T, Filled<T>>;
export function device(described: Described<Table>): DeviceTable {
  return { deviceKeys: {}, finish: (filled: object) => filled, ...described };
}

/** The row that every device has. */
export const ID = {
  type: text("ID"),
  qemu: { drive: ["id"], device: ["id"] },
  help: "a name that no other device of the machine has",
} as const;

/** A row of `createVm` for one kind of device. */
export interface DeviceRow<T extends Table = Table, C extends object = object> extends Row {
  readonly device: DeviceTable<T, C>;
  readonly isMany: boolean;
  /** A snapshot says how many there are, and of what kind. Of others it is whoever restores. */
  readonly isSaved?: true;
}

export interface ManyRow<T extends Table, C extends object> extends DeviceRow<T, C> {
  readonly type: Kind<readonly Options<T>[]>;
  readonly default: readonly Options<T>[];
  readonly isMany: true;
}

export interface OneRow<T extends Table, C extends object> extends DeviceRow<T, C> {
  readonly type: Kind<boolean | Options<T>>;
  readonly default: false;
  readonly isMany: false;
}

/** A list of devices of one kind. */
export function many<T extends Table, C extends object>(
  device: DeviceTable<T, C>,
  row: Pick<Row, "help" | "see" | "otherwise"> & { readonly isSaved?: true },
): ManyRow<T, C> {
  return { ...row, type: array<Options<T>>(), default: [], device, isMany: true };
}

/** A device that a machine has once: true gives it its defaults. */
export function one<T extends Table, C extends object>(
  device: DeviceTable<T, C>,
  row: Pick<Row, "help" | "see">,
): OneRow<T, C> {
  return {
    ...row,
    type: orBoolean<Options<T>>(Object.keys(device.options)),
    default: false,
    device,
    isMany: false,
  };
}

export type DeviceRows = Readonly<Record<string, DeviceRow>>;

/** The configurations of a machine's devices, by the options of `createVm`. */
export type Configs<R extends DeviceRows> = {
  readonly [K in keyof R]: R[K] extends ManyRow<infer _, infer C>
    ? readonly C[]
    : R[K] extends DeviceRow<infer _, infer C>
      ? C | undefined
      : never;
};

/** A device of a machine, for the list that a board is assembled from. */
export interface DeviceConfig {
  readonly kind: string;
  /** In messages, statistics and the address map. */
  readonly name: string;
  readonly config: object;
}

/** @throws {OptionError} that names the option, what was given and what would do */
export function checkDevices<R extends DeviceRows>(rows: R, given: object, cpus: number): Configs<R>;
export function checkDevices(rows: DeviceRows, given: object, cpus: number): object {
  const ids = new Set<unknown>();
  const checked = Object.entries(rows).map(([option, { device, isMany }]) => {
    const check = (value: unknown, where: string, index: number): object => {
      const filled = fill(device.options, value === true ? {} : value, where);
      const { id } = filled;
      if (id !== undefined && ids.has(id)) {
        throw new OptionError(`${where}.id: ${quoted(id)} is the name of another device`);
      }
      ids.add(id);
      return device.finish(filled, where, { cpus, index });
    };
    const value: unknown = Reflect.get(given, option);
    if (Array.isArray(value)) return [option, value.map((each, n) => check(each, `${option}[${n}]`, n))];
    const isLeftOut = isMany || value === undefined || value === false;
    return [option, isLeftOut ? undefined : check(value, option, 0)];
  });
  return Object.fromEntries(checked);
}

/** The devices in the order of `rows`, which is the order in which a board finds places for them. */
export function listDevices<R extends DeviceRows>(rows: R, configs: Configs<R>): DeviceConfig[];
export function listDevices(
  rows: DeviceRows,
  configs: Readonly<Record<string, object | readonly object[] | undefined>>,
): DeviceConfig[] {
  return Object.entries(rows).flatMap(
    ([
      option,
      {
        device: { kind },
      },
    ]): DeviceConfig[] => {
      const config = configs[option];
      if (config === undefined) return [];
      if (!Array.isArray(config)) return [{ kind, name: kind, config }];
      return config.map((each, n) => ({ kind, name: `${kind}${n}`, config: each }));
    },
  );
}

function orBoolean<T extends object>(names: readonly string[]): Kind<boolean | T> {
  return {
    shown: "",
    manual: `\`true\`, \`false\`, or \`{ ${names.join(", ")} }\``,
    check: (value, refuse) => {
      if (typeof value === "boolean" || isObject<T>(value)) return value;
      throw refuse(`${quoted(value)} is not true or false`);
    },
    parse: (_typed, refuse) => {
      throw refuse("a -device adds it");
    },
  };
}

function isObject<T extends object>(value: unknown): value is T {
  return typeof value === "object" && value !== null;
}
