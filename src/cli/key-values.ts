/**
 * QEMU's `key=value,key=value` syntax, and its JSON.
 *
 * A comma inside a value is written twice. The first word may omit its key if the
 * option has an implied one (`-smp 2`); any other word without a value means `on`,
 * as in QEMU.
 *
 * Source: QEMU 7.2, docs/system/qemu-block-drivers and qemu-options.hx.
 */
import { OptionError } from "../base/errors.ts";
import type { KeyValue } from "../config/keys.ts";

/** Makes the error for what was typed: `-drive file=a,fromat=b: ` and the sentence. */
export type Complain = (sentence: string) => OptionError;

const QUOTED_LENGTH = 200;
/** Objects inside each other. */
const MAX_JSON_DEPTH = 4;

export function complainAbout(typed: string): Complain {
  const quoted = typed.length > QUOTED_LENGTH ? `${typed.slice(0, QUOTED_LENGTH)}…` : typed;
  return (sentence) => new OptionError(`${quoted}: ${sentence}`);
}

/** Splits `text`. A first word without `=` belongs to `impliedKey`, if there is one. */
export function splitKeyValues(text: string, impliedKey?: string): KeyValue[] {
  return splitAtCommas(text).map((word, index) => {
    const equals = word.indexOf("=");
    if (equals >= 0) return { key: word.slice(0, equals), value: word.slice(equals + 1) };
    return index === 0 && impliedKey !== undefined
      ? { key: impliedKey, value: word }
      : { key: word, value: "on" };
  });
}

/** The same for an option that QEMU takes as JSON too. @throws what `complain` makes, for JSON that is not keys */
export function splitKeyValuesOrJson(text: string, impliedKey: string, complain: Complain): KeyValue[] {
  return text.startsWith("{") ? pairsOfJson(text, complain) : splitKeyValues(text, impliedKey);
}

/** `{"driver": "qcow2", "file": {"driver": "file"}}` is `driver=qcow2,file.driver=file`. */
function pairsOfJson(text: string, complain: Complain): KeyValue[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw complain(`this is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const pairs: KeyValue[] = [];
  const flatten = (value: unknown, key: string, depth: number): void => {
    if (typeof value === "string") pairs.push({ key, value });
    else if (typeof value === "number") pairs.push({ key, value: String(value) });
    else if (typeof value === "boolean") pairs.push({ key, value: value ? "on" : "off" });
    else if (typeof value !== "object" || value === null || Array.isArray(value))
      throw complain(`"${key}" can be neither null nor a list`);
    else if (depth > MAX_JSON_DEPTH) throw complain("too many objects inside each other");
    else {
      const prefix = key === "" ? "" : `${key}.`;
      for (const [name, member] of Object.entries(value)) flatten(member, `${prefix}${name}`, depth + 1);
    }
  };
  flatten(value, "", 0);
  return pairs;
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
