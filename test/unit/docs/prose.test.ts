/**
 * Documentation, comments and messages use the words of the field: see "Words" in
 * ARCHITECTURE.md. These are the private words that are easiest to write again, and
 * the few places where they are right.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const MAX_COLUMNS = 110;

interface PrivateWord {
  readonly what: RegExp;
  readonly write: string;
}

const PRIVATE: readonly PrivateWord[] = [
  { what: /\bunder way\b/gi, write: "in flight" },
  // "is over a socket" is no completion, and "is over the limit" is none either.
  {
    what: /\b(?:is|are|was|were|be|been) over\b(?! (?:an?|the|its|their|that|which|one|two|[A-Z\d])\b)/gi,
    write: "completed, finished",
  },
  { what: /\b(?:is|are|was|were|be|been|being) told\b/gi, write: "gets, is notified, is set" },
  { what: /\b(?:given?|gives|gave|giving) back\b/gi, write: "returned, used, freed, released" },
  // "there is no X" is English, and so are "is no longer" and "is no larger than".
  {
    what: /(?<!\bthere )\b(?:is|are|was|were) no (?!(?:longer|larger|greater|higher|lower|smaller|faster|slower|better|later|earlier|more|less|one)\b)[a-z]\w*/gi,
    write: "is not a …",
  },
  { what: /\b(?:stands?|stood) still\b/gi, write: "is paused, is parked, does not run" },
  { what: /\blook(?:s|ed)? whether\b/gi, write: "checks whether" },
];

/** Where such words are right: a file, and the line. */
const ALLOWED: readonly (readonly [file: string, line: RegExp])[] = [
  // The words themselves, in the table that replaces them.
  ["ARCHITECTURE.md", /^\|.*\| (?:under way|given back|end what is under way|look whether|stands still) \|$/],
];

const files = execFileSync("git", ["ls-files", "-z"], { cwd: ROOT, encoding: "utf8" })
  .split("\0")
  .filter((file) => /\.(?:md|ts|mjs|js|c|cc|h|s|css|html)$/.test(file))
  .filter((file) => file !== "test/unit/docs/prose.test.ts");
const pages = files.filter((file) => file.endsWith(".md"));

/** The private words of a text, each with its line and with what to write. */
function privateWords(file: string, text: string): string[] {
  const lines = text.split("\n");
  // A phrase may go on in the next line, behind the sign of a comment.
  const flowing = text.replace(/\n[ \t]*(?:\*|\/\/|#)?(?=[ \t]|\w)/g, (gap) => " ".repeat(gap.length));
  const single = flowing.replace(/ +/g, " ");
  const lineOf = (index: number) => text.slice(0, originalIndex(flowing, index)).split("\n").length;
  return PRIVATE.flatMap(({ what, write }) =>
    Array.from(single.matchAll(what), ({ 0: found, index }) => {
      const line = lineOf(index);
      const isAllowed = ALLOWED.some(([where, pattern]) => where === file && pattern.test(lines[line - 1]));
      return isAllowed ? "" : `${file}:${line}: "${found}": write ${write}`;
    }).filter((each) => each !== ""),
  );
}

/** The text with the lines of code blocks empty. */
function withoutCode(text: string): string {
  return text.replaceAll(/^ *```[\s\S]*?^ *```/gm, (block) => block.replaceAll(/[^\n]/g, ""));
}

/** The index in `text` of the character that has `index` once runs of spaces are one. */
function originalIndex(text: string, index: number): number {
  let at = 0;
  for (let left = index; left > 0; left--) {
    if (text[at] === " ") while (text[at + 1] === " ") at++;
    at++;
  }
  return at;
}

test("private words are found, also across lines, and ordinary English is not", () => {
  const found = (text: string) => privateWords("a.md", text).length;
  expect(found("a request that is under way")).toBe(1);
  expect(found("the transfer is over, and the driver is told")).toBe(2);
  expect(found("  /**\n   * The buffer is given\n   * back.\n   */")).toBe(1);
  expect(found("// this is\n// no disk")).toBe(1);
  expect(found("a machine that stands still")).toBe(1);
  expect(found("There is no disk, there\nare no files, and it is no longer than before.")).toBe(0);
  expect(found("It is over a unix socket; the limit is no larger than that.")).toBe(0);
  expect(privateWords("a.md", "one\ntwo  is\n  told")).toEqual([
    'a.md:2: "is told": write gets, is notified, is set',
  ]);
});

test("documentation, comments and messages use the words of the field", () => {
  expect(files.length).toBeGreaterThan(300);
  const found = files.flatMap((file) => privateWords(file, readFileSync(`${ROOT}${file}`, "utf8")));
  expect(found).toEqual([]);
});

test(`documentation is wrapped at ${MAX_COLUMNS} columns, but for tables, pictures and code`, () => {
  const tooLong = pages.flatMap((file) =>
    withoutCode(readFileSync(`${ROOT}${file}`, "utf8"))
      .split("\n")
      .map((line, n) => ({ line, place: `${file}:${n + 1}` }))
      .filter(({ line }) => [...line].length > MAX_COLUMNS && !/^\s*(?:\||!\[)/.test(line))
      .map(({ place, line }) => `${place}: ${[...line].length} columns`),
  );
  expect(tooLong).toEqual([]);
});
