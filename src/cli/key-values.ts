/**
 * QEMU's `key=value,key=value` syntax.
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
