/**
 * Tables of options, and a reader of command lines with the rules of getopt_long(3),
 * as in qemu-img: `-f qcow2`, `-fqcow2`, `-pq`,
 * `--output=json`, `--output json`, `--out=json`; before, between and behind the
 * operands, up to `--`.
 *
 * A row has the shape of those in src/config: a kind of value, a default, help. The
 * type of the result follows from the table.
 */
import { didYouMean } from "../../base/errors.ts";
import { type Kind, typed } from "../../config/value.ts";
import { ImgError, OptionUsageError } from "./img-error.ts";

export interface OptionRow {
  /** Without dashes: letters, words, or both; the first word is that of QEMU 11.1. */
  readonly names: readonly string[];
  /** An option that takes no value has the kind PRESENT, which is shown as nothing. */
  readonly type: Kind<unknown>;
  readonly default?: unknown;
  readonly help: string;
}

export type OptionTable = Readonly<Record<string, OptionRow>>;

type Value<R> = R extends { type: Kind<infer V, infer _> }
  ? R extends { default: infer D }
    ? V | D
    : V | undefined
  : never;

/** The values of a command line, by the names of the table's rows. */
export type Read<T extends OptionTable> = { readonly [K in keyof T]: Value<T[K]> };

export interface CommandLine<T extends OptionTable> {
  readonly operands: readonly string[];
  readonly options: Read<T>;
  /** The rows that were given, in order; one that is given twice is there twice. */
  readonly given: readonly (keyof T & string)[];
}

/** Thrown for -h and --help, wherever they stand. */
export class HelpAsked extends Error {}

const PRESENT = typed("", () => true);
const HELP = { names: ["h", "help"], type: PRESENT, help: "print this help and exit" } as const;

/** An option without a value. */
export function flag(names: readonly string[], help: string) {
  return { names, type: PRESENT, default: false, help } as const;
}

/** An option that is accepted and checked, and has no effect. */
export function ignored(names: readonly string[], what: string, type: Kind<unknown> = PRESENT) {
  return { names, type, help: `${what}: accepted, without effect` } as const;
}

/** An option of qemu-img that is not supported. */
export function refused(names: readonly string[], shown: string, why: string) {
  const dashed = dashedName(names[0]);
  const type = typed(shown, (): never => {
    throw new ImgError(`${dashed} is not supported: ${why}`);
  });
  return { names, type, help: `not supported: ${why}` } as const;
}

/**
 * Reads a command line.
 *
 * @throws {OptionUsageError} for an option that is not in the table, or lacks its value
 * @throws {HelpAsked}
 */
export function readCommandLine<T extends OptionTable>(argv: readonly string[], table: T): CommandLine<T>;
export function readCommandLine(argv: readonly string[], table: OptionTable): CommandLine<OptionTable> {
  const reading = new Reading(argv, table);
  return reading.run();
}

class Reading {
  readonly #argv: readonly string[];
  readonly #table: OptionTable;
  readonly #options: Record<string, unknown> = {};
  readonly #given: string[] = [];
  #at = 0;

  constructor(argv: readonly string[], table: OptionTable) {
    this.#argv = argv;
    this.#table = table;
    for (const [key, row] of Object.entries(table)) this.#options[key] = row.default;
  }

  run(): CommandLine<OptionTable> {
    const operands: string[] = [];
    for (; this.#at < this.#argv.length; this.#at++) {
      const word = this.#argv[this.#at];
      if (word === "--") {
        operands.push(...this.#argv.slice(this.#at + 1));
        break;
      }
      if (word === "-" || !word.startsWith("-")) operands.push(word);
      else if (word.startsWith("--")) this.#long(word);
      else this.#short(word);
    }
    return { operands, options: this.#options, given: this.#given };
  }

  #long(word: string): void {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    const begun = this.#rows().flatMap(([key, row]) =>
      row.names
        .filter((each) => each.length > 1 && each.startsWith(name))
        .map((each) => ({ key, row, each })),
    );
    const exact = begun.find(({ each }) => each === name);
    const others = new Set(begun.map(({ row }) => row));
    if (exact === undefined && others.size > 1) {
      const possible = begun.map(({ each }) => `'--${each}'`).join(" ");
      throw new OptionUsageError(`option '${word}' is ambiguous; possibilities: ${possible}`);
    }
    const found = exact ?? begun[0];
    if (name === "" || found === undefined) {
      throw new OptionUsageError(`unrecognized option '${word}'${this.#meant(name)}`);
    }
    const { key, row, each } = found;
    if (!takesValue(row)) {
      if (equals >= 0) throw new OptionUsageError(`option '--${each}' doesn't allow an argument`);
      this.#set(key, row, "");
      return;
    }
    const value = equals >= 0 ? word.slice(equals + 1) : this.#next();
    if (value === undefined) throw new OptionUsageError(`option '--${each}' requires an argument`);
    this.#set(key, row, value);
  }

  #short(word: string): void {
    for (let i = 1; i < word.length; i++) {
      const letter = word[i];
      const found = this.#rows().find(([, { names }]) => names.includes(letter));
      if (found === undefined) {
        // "-output": options of QEMU's other programs have one dash.
        throw new OptionUsageError(
          `invalid option -- '${letter}'${word.length > 2 ? this.#meant(word.slice(1)) : ""}`,
        );
      }
      const [key, row] = found;
      if (!takesValue(row)) {
        this.#set(key, row, "");
        continue;
      }
      const value = i + 1 < word.length ? word.slice(i + 1) : this.#next();
      if (value === undefined) throw new OptionUsageError(`option requires an argument -- '${letter}'`);
      this.#set(key, row, value);
      return;
    }
  }

  #set(key: string, row: OptionRow, text: string): void {
    if (row === HELP) throw new HelpAsked();
    const value = row.type.parse(text, (sentence) => new ImgError(sentence));
    const before = this.#options[key];
    this.#options[key] = Array.isArray(before) && Array.isArray(value) ? [...before, ...value] : value;
    this.#given.push(key);
  }

  #rows(): [string, OptionRow][] {
    return [...Object.entries(this.#table), ["help", HELP]];
  }

  #next(): string | undefined {
    this.#at++;
    return this.#argv[this.#at];
  }

  #meant(name: string): string {
    const words = this.#rows().flatMap(([, { names }]) => names.filter((each) => each.length > 1));
    return didYouMean(name, words, "--");
  }
}

function takesValue({ type }: OptionRow): boolean {
  return type.shown !== "";
}

/** Two lines of help for each option. */
export function optionLines(table: OptionTable): string {
  return [HELP, ...Object.values(table)]
    .map(({ names, type, help }) => {
      const value = type.shown === "" ? "" : ` ${type.shown}`;
      return `  ${names.map(dashedName).join(", ")}${value}\n     ${help}\n`;
    })
    .join("");
}

function dashedName(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}
