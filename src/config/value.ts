/**
 * The kinds of values that options have. A kind checks what a program gave, reads
 * what was typed on a command line, and says what may be given.
 */
import { didYouMean } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";

/** Makes the error for a value that cannot be used. The sentence begins with the value. */
export type Refuse = (sentence: string) => Error;

/** `In` is what a program may give, `Out` what the rest of the monitor gets. */
export interface Kind<In, Out = In> {
  /** What help shows after `key=`. */
  readonly shown: string;
  /** What a program may give, for the manual of the library. */
  readonly manual: string;
  /** A command line may repeat its key. */
  readonly repeats?: true;
  check(value: unknown, refuse: Refuse): Out;
  /** Reads text from a command line. */
  parse(text: string, refuse: Refuse): In;
}

/** A value in an error message. */
export function quoted(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/** "raw, qcow2 or vdi" */
function oneOf(words: readonly string[]): string {
  return words.join(", ").replace(/, ([^,]*)$/, " or $1");
}

/** Any text. */
export function text(shown: string): Kind<string> {
  return {
    shown,
    manual: "text",
    check: (value, refuse) => {
      if (typeof value === "string") return value;
      throw refuse(`${quoted(value)} is not a string`);
    },
    parse: (word) => word,
  };
}

/** At most `length` printable characters of ASCII. */
export function ascii(length: number): Kind<string> {
  const check = (value: unknown, refuse: Refuse): string => {
    const given = text("").check(value, refuse);
    if (given.length <= length && /^[\x20-\x7e]*$/.test(given)) return given;
    throw refuse(`${quoted(given)} is not at most ${length} characters of ASCII`);
  };
  return { shown: "TEXT", manual: "text", check, parse: check };
}

/** True or false; on or off. */
export const flag: Kind<boolean> = {
  shown: "on|off",
  manual: "`true`, `false`",
  check: (value, refuse) => {
    if (typeof value === "boolean") return value;
    throw refuse(`${quoted(value)} is not true or false`);
  },
  parse: (word, refuse) => {
    if (word === "on" || word === "yes" || word === "true") return true;
    if (word === "off" || word === "no" || word === "false") return false;
    throw refuse(`"${word}" is neither on nor off`);
  },
};

/**
 * One of some words.
 * @param synonyms what a command line may say instead
 */
export function words<const W extends string>(
  known: readonly W[],
  synonyms: Readonly<Record<string, W>> = {},
): Kind<W> {
  const check = (value: unknown, refuse: Refuse): W => {
    if (typeof value !== "string") throw refuse(`${quoted(value)} is not a string`);
    const found = known.find((word) => word === value);
    if (found !== undefined) return found;
    throw refuse(`${quoted(value)} is not known${didYouMean(value, known)}; use ${oneOf(known)}`);
  };
  return {
    shown: known.join("|"),
    manual: known.map((word) => `\`"${word}"\``).join(", "),
    check,
    parse: (word, refuse) => (Object.hasOwn(synonyms, word) ? synonyms[word] : check(word, refuse)),
  };
}

/** Of a machine, in the usual form of 36 characters. */
export const uuid: Kind<string> = {
  shown: "UUID",
  manual: "string like `c7d7ad2c-6e4b-4d5f-9d0a-3f2f1d1c0a5e`",
  check: (value, refuse) => {
    if (typeof value === "string" && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) return value;
    throw refuse(`${quoted(value)} is not a UUID, which is 8-4-4-4-12 hexadecimal digits`);
  },
  parse: (word, refuse) => uuid.check(word, refuse),
};

/** What to boot from, as letters of QEMU's -boot, first choice first. */
export const bootOrder: Kind<string> = {
  shown: "LETTERS",
  manual: "string of `a`, `c`, `d`, `n`",
  check: (value, refuse) => {
    const isOrder = typeof value === "string" && /^[acdn]{1,4}$/.test(value);
    if (isOrder && new Set(value).size === value.length) return value;
    throw refuse(`${quoted(value)} is not a boot order: a floppy, c disk, d CD, n network, each once`);
  },
  parse: (word, refuse) => bootOrder.check(word, refuse),
};

/** A whole number in a range. */
export function integer(least: number, most: number, shown = "N"): Kind<number> {
  const check = (value: unknown, refuse: Refuse): number => {
    if (typeof value !== "number") throw refuse(`${quoted(value)} is not a number`);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw refuse(`${value} is out of range; give a whole number from ${least} to ${most}`);
  };
  return {
    shown,
    manual: most === Number.MAX_SAFE_INTEGER ? "number" : `${least} to ${most}`,
    check,
    parse: (word, refuse) => {
      if (!/^-?(0x[0-9a-f]{1,13}|[0-9]{1,15})$/i.test(word)) {
        throw refuse(`"${word}" is not a whole number`);
      }
      return check(Number(word), refuse);
    },
  };
}

/** A count, per second or of bytes: a program gives a number, a command line also K, M, G or T. */
export function amount(most: number, shown: string): Kind<number> {
  const { manual, check } = integer(0, most);
  return { shown, manual, check, parse: (word, refuse) => check(parseSize(word, refuse), refuse) };
}

/** Bytes, as a number or with K, M, G or T. Out: a number. */
export function size(
  least: number,
  most: number,
  range: string,
  multiple = 1,
): Kind<number | string, number> {
  const check = (value: unknown, refuse: Refuse): number => {
    if (typeof value !== "number" && typeof value !== "string") {
      throw refuse(`${quoted(value)} is not a number of bytes or a string such as "256M"`);
    }
    const bytes = typeof value === "number" ? value : parseSize(value, refuse);
    if (!Number.isSafeInteger(bytes) || bytes < least || bytes > most) {
      throw refuse(`${quoted(value)} is out of range; give ${range}`);
    }
    if (bytes % multiple !== 0) throw refuse(`${quoted(value)} is not a multiple of ${multiple / 1024}K`);
    return bytes;
  };
  return {
    shown: "SIZE",
    manual: `bytes, or as in \`"256M"\`: ${range}`,
    check,
    parse: check,
  };
}

/** A file by its path, or what is in it. */
export const content: Kind<string | Uint8Array> = {
  shown: "FILE",
  manual: "path, or a `Uint8Array`",
  check: (value, refuse) => {
    if (typeof value === "string" || value instanceof Uint8Array) return value;
    throw refuse(`${quoted(value)} is not a path or a Uint8Array`);
  },
  parse: (word) => word,
};

/** An object of the program's, which no command line can name. */
export function object<T extends object>(): Kind<T> {
  return {
    shown: "",
    manual: "object",
    check: (value, refuse) => {
      if (isObject<T>(value)) return value;
      throw refuse(`${quoted(value)} is not an object`);
    },
    parse: unreadable,
  };
}

export function array<T>(): Kind<readonly T[]> {
  return {
    shown: "",
    manual: "array",
    check: (value, refuse) => {
      if (Array.isArray(value)) return value;
      throw refuse(`${quoted(value)} is not an array`);
    },
    parse: unreadable,
  };
}

/** A function of the program's. */
export function callback<F extends (...given: never[]) => unknown>(): Kind<F> {
  return {
    shown: "",
    manual: "function",
    check: (value, refuse) => {
      if (isFunction<F>(value)) return value;
      throw refuse(`${quoted(value)} is not a function`);
    },
    parse: unreadable,
  };
}

/** What only a command line can give. */
export function typed<T>(shown: string, parse: (text: string, refuse: Refuse) => T): Kind<T> {
  const check = (value: unknown, refuse: Refuse): T => parse(text("").check(value, refuse), refuse);
  return { shown, manual: "", check, parse };
}

/** The one number that a command line may give. */
export function exactly(number: number, shown: string): Kind<number> {
  return typed(shown, (text, refuse) => {
    if (Number(text) === number) return number;
    throw refuse(`"${text}" is not possible: on this machine it is ${shown}`);
  });
}

/** The one word that a command line may give: what it says is true anyway. */
export function only(truth: string, because: string): Kind<string> {
  const isFlag = truth === "on" || truth === "off";
  return typed(truth, (text, refuse) => {
    const isTrue = isFlag ? flag.parse(text, refuse) === (truth === "on") : text === truth;
    if (isTrue) return truth;
    throw refuse(`"${text}" is not possible: ${because}`);
  });
}

/** A key of QEMU's that means nothing here. */
export function refused(because: string): Kind<never> {
  return typed("", (text, refuse) => {
    throw refuse(`"${text}" is not possible: ${because}`);
  });
}

/** A key that may be repeated: each gives one element. */
export function each<In, Out>(kind: Kind<In, Out>): Kind<readonly In[], readonly Out[]> {
  return {
    shown: kind.shown,
    manual: `array of ${kind.manual}`,
    repeats: true,
    check: (value, refuse) =>
      array<unknown>()
        .check(value, refuse)
        .map((one) => kind.check(one, refuse)),
    parse: (word, refuse) => [kind.parse(word, refuse)],
  };
}

function unreadable(word: string, refuse: Refuse): never {
  throw refuse(`"${word}" is not possible: only a program can give this`);
}

/** What is in the object is the caller's promise: see where it is used. */
function isObject<T extends object>(value: unknown): value is T {
  return typeof value === "object" && value !== null;
}

function isFunction<F>(value: unknown): value is F {
  return typeof value === "function";
}
