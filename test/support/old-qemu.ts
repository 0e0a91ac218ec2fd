/**
 * What qemu-img 7.2 (Debian 12) prints and what is printed here, which is qemu-img 11.1's,
 * in one form. The texts of 11.1 by themselves are in test/unit/cli/img/texts.test.ts.
 */
import type { Answer } from "./img-pair.ts";

/** Of an answer of either. @param args the command line, which begins with the command */
export function sameForm([command = ""]: readonly string[], answer: Answer): Answer {
  const { stdout, stderr, status } = answer;
  return {
    stdout: command === "info" ? withoutChildren(snapshotLines(stdout)) : snapshotLines(stdout),
    stderr: messages(stderr),
    status,
  };
}

/** 11.1 adds the file under the format to what `info` says. */
export function withoutChildren(stdout: string): string {
  if (!/^[[{]/.test(stdout)) return stdout.replaceAll(/^Child node '\/file':\n(?: {4}.*\n)*/gm, "");
  const drop = (key: string, value: unknown) => (key === "children" ? undefined : value);
  return `${JSON.stringify(JSON.parse(stdout, drop), undefined, 4)}\n`;
}

/** The table of snapshots: other widths, a longer clock, and "--" for a guest whose instructions nobody counted. */
function snapshotLines(stdout: string): string {
  return stdout
    .replace(/^ID +TAG +VM.SIZE +DATE +VM.CLOCK +ICOUNT$/m, "ID TAG VM_SIZE DATE VM_CLOCK ICOUNT")
    .replaceAll(
      /^(\d+) +(.*?) +(\S+ \S?i?B) +(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) +(?:00)?(\d\d:\d\d:\d\d\.\d{3}) +(?:(\d+)|--)? *$/gm,
      "$1 $2 $3 $4 $5 $6",
    );
}

const RULES: readonly (readonly [RegExp, string])[] = [
  // Usage: 11.1 names the command, and getopt's words.
  [/^Try 'qemu-img(?: \w+)? --help' for more information\n/gm, ""],
  [/^qemu-img: unrecognized option '-(\w)'$/gm, "invalid option $1"],
  [/^qemu-img(?: \w+)?: invalid option -- '(\w)'$/gm, "invalid option $1"],
  [/^qemu-img(?: \w+)?: unrecognized option '(--.*)'$/gm, "unrecognized option $1"],
  [/^qemu-img: missing argument for option '-(\w)'$/gm, "no argument $1"],
  [/^qemu-img(?: \w+)?: option requires an argument -- '(\w)'$/gm, "no argument $1"],
  [/^qemu-img: (?:Not enough arguments|Expecting image file name and size)$/gm, "too few"],
  // Values.
  [/ specified\. You may use k, M, G, T, P or E suffixes for\s+qemu-img: kilobytes.*\n/g, " specified\n"],
  [/ specified: '.*'$/gm, " specified"],
  [/^qemu-img: --output (?:must be used with|expects '?human).*$/gm, "output"],
  [/^qemu-img: (?:Unknown option value for -r|--repair \(-r\) expects).*$/gm, "repair"],
  [/Invalid number of coroutines(?:\. Allowed.*| specified\. Must be between 1 and 16\.)$/gm, "coroutines"],
];

function messages(stderr: string): string {
  return RULES.reduce((text, [from, to]) => text.replaceAll(from, to), stderr);
}
