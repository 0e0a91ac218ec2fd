/**
 * QEMU's `key=value,key=value` syntax.
 *
 * A comma inside a value is written twice. The first word may leave its key out
 * where the option has an implied one (`-smp 2`); any other word without a value
 * means `on`, as it does for QEMU.
 *
 * Source: QEMU 7.2, docs/system/qemu-block-drivers and qemu-options.hx.
 */
import { didYouMean, OptionError } from "../base/errors.ts";

/** Makes the error for what was typed: `-drive file=a,fromat=b: ` and the sentence. */
export type Complain = (sentence: string) => OptionError;

const QUOTED_LENGTH = 200;

export function complainAbout(typed: string): Complain {
  const quoted = typed.length > QUOTED_LENGTH ? `${typed.slice(0, QUOTED_LENGTH)}…` : typed;
  return (sentence) => new OptionError(`${quoted}: ${sentence}`);
}

/** One key of an option: a row of `--help` and what it does to `target`. */
export interface KeyRow<T> {
  readonly name: string;
  /** Other spellings. */
  readonly aliases?: readonly string[];
  /** Shown after the equals sign: `on|off`, `PATH`. */
  readonly values: string;
  readonly help: string;
  set(target: T, value: string, complain: Complain): void;
}

/** Lines of `--help`: what may be written, and what it does. Rows without help are not shown. */
export function keyLines<T>(rows: readonly KeyRow<T>[], indent = ""): string[] {
  const shown = rows.filter(({ help }) => help !== "");
  const left = shown.map((row) => [row.name, ...(row.aliases ?? [])].join("|").concat(`=${row.values}`));
  const width = Math.max(...left.map((text) => text.length));
  return shown.map(({ help }, index) => `${indent}${left[index].padEnd(width)}  ${help}`);
}

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/** Splits `text`. A first word without `=` belongs to `impliedKey`, if there is one. */
export function splitKeyValues(text: string, impliedKey?: string): KeyValue[] {
  const pairs: KeyValue[] = [];
  for (const [index, word] of splitAtCommas(text).entries()) {
    const equals = word.indexOf("=");
    if (equals >= 0) pairs.push({ key: word.slice(0, equals), value: word.slice(equals + 1) });
    else if (index === 0 && impliedKey !== undefined) pairs.push({ key: impliedKey, value: word });
    else pairs.push({ key: word, value: "on" });
  }
  return pairs;
}

/** Gives each pair in `text` to its row. @throws {OptionError} on a key that has none. */
export function setKeys<T>(
  text: string,
  rows: readonly KeyRow<T>[],
  target: T,
  complain: Complain,
  impliedKey?: string,
): void {
  setPairs(splitKeyValues(text, impliedKey), rows, target, complain);
}

/** The same for pairs already split. */
export function setPairs<T>(
  pairs: readonly KeyValue[],
  rows: readonly KeyRow<T>[],
  target: T,
  complain: Complain,
): void {
  for (const { key, value } of pairs) {
    if (key === "") throw complain("a key is missing; a comma inside a value is written twice");
    const row = rows.find((row) => row.name === key || row.aliases?.includes(key));
    if (row === undefined) {
      const names = rows.flatMap((row) => [row.name, ...(row.aliases ?? [])]);
      throw complain(`unknown key "${key}"${didYouMean(key, names)}`);
    }
    if (value === "") throw complain(`the key "${key}" needs a value: ${key}=${row.values}`);
    row.set(target, value, complain);
  }
}

/** `on` and its synonyms. */
export function onOff(key: string, value: string, complain: Complain): boolean {
  if (value === "on" || value === "yes" || value === "true") return true;
  if (value === "off" || value === "no" || value === "false") return false;
  throw complain(`${key}="${value}" is neither on nor off`);
}

/** A whole number from 1 on. */
export function count(key: string, value: string, complain: Complain): number {
  if (!/^[0-9]{1,9}$/.test(value) || Number(value) === 0) {
    throw complain(`${key}="${value}" is not a number from 1 on`);
  }
  return Number(value);
}

function splitAtCommas(text: string): string[] {
  const words: string[] = [];
  let word = "";
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== ",") {
      word += text[at];
    } else if (text[at + 1] === ",") {
      word += ",";
      at++;
    } else {
      words.push(word);
      word = "";
    }
  }
  words.push(word);
  return words;
}
