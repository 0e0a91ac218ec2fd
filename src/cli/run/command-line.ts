/** The command line of `vmexit run`. Parsing is a pure function: it opens no file and prints nothing. */
import { didYouMean, OptionError } from "../../base/errors.ts";
import { helpLines } from "../help-lines.ts";
import { complainAbout } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";
import { OPTIONS } from "./options.ts";
import { acceptedQemuOption, qemuOptionRows, refusedQemuOption } from "./qemu-options.ts";
import { emptyDraft, finish, type RunRequest } from "./request.ts";

/** What the command line asks for: a text, or a machine. */
export type RunCommand =
  | { readonly action: "print"; readonly text: string | (() => Promise<string>) }
  | { readonly action: "run"; readonly request: RunRequest };

/**
 * @param form `image`: a word that is not an option is a disk image, as for QEMU
 * @throws {OptionError} for what is not possible as typed.
 */
export function parseRun(argv: readonly string[], form: { readonly image?: true } = {}): RunCommand {
  const draft = emptyDraft();
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at];
    const match = /^--?([^=-][^=]*)(?:=(.*))?$/s.exec(word);
    if (match === null) {
      const disk = form.image === true ? findOption("hda") : undefined;
      if (disk === undefined) throw new OptionError(strayWord(word));
      disk.apply(draft, word, word, complainAbout(word));
      continue;
    }
    const [, name, attached] = match;
    const row = findOption(name);
    if (row === undefined) throw unknownOption(word, name);
    const option = attached === undefined ? word : word.slice(0, word.length - attached.length - 1);
    if (row.argument === undefined) {
      if (attached !== undefined) throw new OptionError(`${word}: ${option} takes no value`);
      row.apply(draft, "", word, complainAbout(word));
    } else if (row.isRefused === true) {
      const next = attached ?? argv[at + 1];
      const isValue = next !== undefined && (attached !== undefined || !isOption(next));
      if (isValue && attached === undefined) at++;
      row.apply(draft, "", isValue ? `${option} ${next}` : option, complainAbout(option));
    } else {
      const value = attached ?? argv[++at];
      if (value === undefined) throw missingValue(option, row);
      if (row.anyText !== true) {
        if (value === "") throw missingValue(option, row);
        if (attached === undefined && isOption(value)) throw missingValue(option, row, value);
      }
      const typed = `${option} ${value}`;
      row.apply(draft, value, typed, complainAbout(typed));
    }
    if (draft.wantsHelp) return { action: "print", text: runHelp() };
    if (draft.print !== undefined) return { action: "print", text: draft.print };
  }
  return { action: "run", request: finish(draft) };
}

/** The text of `vmexit run --help`. */
export function runHelp(): string {
  const lines = OPTIONS.flatMap(({ names, argument, help, values = [] }) => {
    const words = names.map((name) => `-${name}`).join(", ");
    const left = argument === undefined ? words : `${words} ${argument}`;
    const more = values.flatMap(({ title, rows }) =>
      title === undefined ? helpLines(rows, 6, 31) : [`      ${title}`, ...helpLines(rows, 8, 31)],
    );
    return [...helpLines([[left, help]], 2, 29), ...more];
  });
  return `Usage: vmexit run [-kernel FILE] [OPTION]…

Starts a virtual machine. The options are those of QEMU, with one dash or two; -m=256 is -m 256.

${lines.join("\n")}
`;
}

/** What becomes of the options of QEMU that are not in the help. */
export function otherOptionRows(): { name: string; answer: string }[] {
  return qemuOptionRows(new Set(OPTIONS.flatMap((row) => row.names)));
}

function findOption(name: string): OptionRow | undefined {
  return OPTIONS.find((row) => row.names.includes(name)) ?? acceptedRow(name) ?? refusedRow(name);
}

/** An option of QEMU that changes nothing here. */
function acceptedRow(name: string): OptionRow | undefined {
  const option = acceptedQemuOption(name);
  if (option === undefined) return undefined;
  const { hasValue, why } = option;
  return {
    names: [name],
    ...(hasValue ? { argument: "VALUE" } : {}),
    help: `accepted: ${why}`,
    apply: () => {},
  };
}

/** An option of QEMU that is not built. Those of a command line are refused together. */
function refusedRow(name: string): OptionRow | undefined {
  const option = refusedQemuOption(name);
  if (option === undefined) return undefined;
  const { hasValue, why } = option;
  return {
    names: [name],
    ...(hasValue ? { argument: "VALUE" } : {}),
    help: `refused: ${why}`,
    isRefused: true,
    apply: (draft, _value, typed) => {
      draft.refused.push({ typed, why });
    },
  };
}

function isOption(word: string): boolean {
  const match = /^--?([^=-][^=]*)/.exec(word);
  return match !== null && findOption(match[1]) !== undefined;
}

function unknownOption(word: string, name: string): OptionError {
  const names = OPTIONS.flatMap((row) => row.names);
  return new OptionError(
    `${word}: unknown option${didYouMean(name, names, "-")}; vmexit run --help lists the options`,
  );
}

function missingValue(option: string, row: OptionRow, next?: string): OptionError {
  const like = row.example ?? `${option} ${row.argument}`;
  const found = next === undefined ? "" : `, and the next word is the option ${next}`;
  return new OptionError(`${option}: needs a value, as in ${like}${found}`);
}

function strayWord(word: string): string {
  return `"${word}": expected an option; a disk is given with -drive file=PATH,format=raw, a kernel with -kernel PATH`;
}
