/**
 * Options as getopt_long(3) reads them, which is how people know them from
 * qemu-img: `-f qcow2`, `-fqcow2`, `-pq`, `--output=json`, `--output json`,
 * `--out=json`; before, between and behind the operands, up to `--`.
 */
import { didYouMean } from "../../base/errors.ts";
import { type ImgError, type OptionHelp, usageError } from "./command.ts";

export interface Option<T> extends OptionHelp {
  /** @throws {ImgError} for a value that makes no sense */
  set(target: T, value: string): void;
}

/** Gives each option to its row. Returns the operands. @throws {ImgError} on an option that has none. */
export function parseOptions<T>(
  argv: readonly string[],
  options: readonly Option<T>[],
  target: T,
): readonly string[] {
  const operands: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at];
    if (word === "--") return [...operands, ...argv.slice(at + 1)];
    if (word === "-" || !word.startsWith("-")) {
      operands.push(word);
      continue;
    }
    const next = () => {
      at++;
      return argv[at];
    };
    if (word.startsWith("--")) longOption(word, options, target, next);
    else shortOptions(word, options, target, next);
  }
  return operands;
}

function longOption<T>(
  word: string,
  options: readonly Option<T>[],
  target: T,
  next: () => string | undefined,
): void {
  const equals = word.indexOf("=");
  const typed = equals < 0 ? word.slice(2) : word.slice(2, equals);
  const longs = options.filter(({ names }) =>
    names.some((name) => name.length > 1 && name.startsWith(typed)),
  );
  const exact = longs.find(({ names }) => names.includes(typed));
  if (exact === undefined && longs.length > 1) throw usageError(`option '${word}' is ambiguous`);
  const option = exact ?? longs[0];
  if (typed === "" || option === undefined) throw unknown(word, `--${typed}`, options);
  if (option.argument === undefined) {
    if (equals >= 0) throw usageError(`option '--${typed}' takes no value`);
    option.set(target, "");
    return;
  }
  const value = equals >= 0 ? word.slice(equals + 1) : next();
  if (value === undefined) throw missing(`--${typed}`);
  option.set(target, value);
}

function shortOptions<T>(
  word: string,
  options: readonly Option<T>[],
  target: T,
  next: () => string | undefined,
): void {
  for (let at = 1; at < word.length; at++) {
    const letter = word[at];
    const option = options.find(({ names }) => names.includes(letter));
    if (option === undefined) throw unknown(`-${letter}`, word.length > 2 ? word : "", options);
    if (option.argument === undefined) {
      option.set(target, "");
      continue;
    }
    const value = at + 1 < word.length ? word.slice(at + 1) : next();
    if (value === undefined) throw missing(`-${letter}`);
    option.set(target, value);
    return;
  }
}

function unknown(shown: string, typed: string, options: readonly OptionHelp[]): ImgError {
  const longs = options.flatMap(({ names }) => names.filter((name) => name.length > 1));
  return usageError(`unrecognized option '${shown}'${didYouMean(typed.replace(/^-+/, ""), longs, "--")}`);
}

function missing(option: string): ImgError {
  return usageError(`missing argument for option '${option}'`);
}

/** Lines of help. */
export function optionLines(options: readonly OptionHelp[]): string {
  const shown = options.map(({ names, argument }) => {
    const words = names.map((name) => (name.length === 1 ? `-${name}` : `--${name}`)).join(", ");
    return argument === undefined ? words : `${words} ${argument}`;
  });
  const width = Math.max(...shown.map((text) => text.length));
  return options.map(({ help }, i) => `  ${shown[i].padEnd(width)}  ${help}\n`).join("");
}
