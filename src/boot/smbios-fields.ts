/**
 * Fields of SMBIOS tables that the owner of a machine sets, by QEMU's names.
 *
 * Source: QEMU 11.1, qemu-options.hx (-smbios).
 */
import { didYouMean, OptionError } from "../base/errors.ts";
import type { SmbiosTable } from "../config/machine.ts";

type FieldKind = "text" | "word" | "u64" | "flag" | "release" | "uuid" | "texts";

function texts(...names: string[]): Record<string, FieldKind> {
  return Object.fromEntries(names.map((name) => [name, "text"]));
}

const TYPES: ReadonlyMap<number, Readonly<Record<string, FieldKind>>> = new Map([
  [0, { ...texts("vendor", "version", "date"), release: "release", uefi: "flag" }],
  [1, { ...texts("manufacturer", "product", "version", "serial", "sku", "family"), uuid: "uuid" }],
  [2, texts("manufacturer", "product", "version", "serial", "asset", "location")],
  [3, texts("manufacturer", "version", "serial", "asset", "sku")],
  [
    4,
    {
      ...texts("sock_pfx", "manufacturer", "version", "serial", "asset", "part"),
      ...{ "max-speed": "word", "current-speed": "word", "processor-family": "word", "processor-id": "u64" },
    },
  ],
  [11, { value: "texts" }],
  [17, { ...texts("loc_pfx", "bank", "manufacturer", "serial", "asset", "part"), speed: "word" }],
]);

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Which tables have fields, and their texts. The last of two values counts. */
export class SmbiosFields {
  readonly #values = new Map<number, Map<string, string>>();
  /** Type 11, in their order. */
  readonly oemStrings: string[] = [];

  /** @throws {OptionError} */
  constructor(tables: readonly SmbiosTable[] = []) {
    for (const [n, table] of tables.entries()) this.#add(table, `smbios[${n}]`);
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  text(type: number, field: string): string | undefined {
    return this.#values.get(type)?.get(field);
  }

  number(type: number, field: string): number | undefined {
    const text = this.text(type, field);
    return text === undefined ? undefined : Number(text);
  }

  flag(type: number, field: string): boolean {
    return this.text(type, field) === "on";
  }

  #add(given: SmbiosTable, where: string): void {
    if (typeof given !== "object" || given === null) throw new OptionError(`${where}: this is not an object`);
    const { type, ...fields } = given;
    const kinds = TYPES.get(Number(type));
    if (kinds === undefined) {
      const known = [...TYPES.keys()].join(", ");
      throw new OptionError(
        `${where}: fields of tables of type ${type} cannot be set; those of ${known} can, as in type=1,serial=42`,
      );
    }
    const values = this.#values.get(Number(type)) ?? new Map<string, string>();
    this.#values.set(Number(type), values);
    for (const [name, value] of Object.entries(fields)) {
      const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
      if (kind === undefined) {
        const hint = didYouMean(name, Object.keys(kinds));
        throw new OptionError(`${where}: tables of type ${type} have no field "${name}"${hint}`);
      }
      for (const one of Array.isArray(value) ? value : [value]) {
        const text = checked(kind, one, `${where}.${name}`);
        if (kind === "texts") this.oemStrings.push(text);
        else values.set(name, text);
      }
    }
  }
}

/** The value as text. */
function checked(kind: FieldKind, value: unknown, where: string): string {
  const text = typeof value === "boolean" ? (value ? "on" : "off") : String(value);
  const expect = (fits: boolean, what: string): string => {
    if (fits) return text;
    throw new OptionError(`${where}: "${text}" is not ${what}`);
  };
  const isNumber = text !== "" && Number.isInteger(Number(text)) && Number(text) >= 0;
  switch (kind) {
    case "word":
      return expect(isNumber && Number(text) <= 0xffff, "a number from 0 to 65535");
    case "u64":
      return expect(
        /^(0x[0-9a-f]{1,16}|\d{1,20})$/i.test(text) && BigInt(text) < 2n ** 64n,
        "a number of 64 bits",
      );
    case "flag":
      return expect(text === "on" || text === "off", "on or off");
    case "release": {
      const [major, minor] = text.split(".").map(Number);
      return expect(
        /^\d{1,3}\.\d{1,3}$/.test(text) && major < 256 && minor < 256,
        "two numbers up to 255, as 1.17",
      );
    }
    case "uuid":
      return expect(UUID.test(text), "a UUID, as c7d7ad2c-6e4b-4d5f-9d0a-3f2f1d1c0a5e");
    default:
      return expect(!text.includes("\0"), "text: it has a zero character");
  }
}
