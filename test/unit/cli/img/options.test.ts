import { expect, test } from "vitest";
import { type Option, parseOptions } from "../../../../src/cli/img/options.ts";
import { sizeOf, sizeText } from "../../../../src/cli/img/sizes.ts";

interface Seen {
  format: string;
  quiet: number;
}

const OPTIONS: readonly Option<Seen>[] = [
  {
    names: ["f", "format"],
    argument: "FORMAT",
    help: "",
    set: (seen, value) => {
      seen.format = value;
    },
  },
  {
    names: ["q"],
    help: "",
    set: (seen) => {
      seen.quiet++;
    },
  },
  { names: ["force"], help: "", set: () => {} },
];

function parse(...argv: string[]) {
  const seen: Seen = { format: "", quiet: 0 };
  return { operands: parseOptions(argv, OPTIONS, seen), ...seen };
}

test("options stand before, between and behind operands, in all of getopt's spellings", () => {
  const expected = { operands: ["a", "b"], format: "raw", quiet: 1 };
  expect(parse("-q", "-f", "raw", "a", "b")).toEqual(expected);
  expect(parse("a", "-qfraw", "b")).toEqual(expected);
  expect(parse("a", "b", "--format=raw", "-q")).toEqual(expected);
  expect(parse("a", "--form=x", "--format", "raw", "b", "-q".repeat(1))).toEqual(expected);
  expect(parse("-qf", "raw", "--", "a", "b")).toEqual(expected);
});

test("behind -- everything is an operand, and so is a dash", () => {
  expect(parse("-", "--", "-f", "--q").operands).toEqual(["-", "-f", "--q"]);
});

test("an option that is not there names the nearest", () => {
  expect(() => parse("--fromat=raw")).toThrow(
    /unrecognized option '--fromat=raw' \(did you mean "--format"\?\)/,
  );
  expect(() => parse("-x")).toThrow("unrecognized option '-x'");
  expect(() => parse("a", "-f")).toThrow("missing argument for option '-f'");
  expect(() => parse("--force=1")).toThrow("option '--force' takes no value");
});

test("an abbreviation that two options have is refused", () => {
  expect(() => parse("--fo")).toThrow(/ambiguous/);
});

test.each([
  ["0", 0],
  ["512", 512],
  ["1k", 1024],
  ["1.5G", 1610612736],
  ["1.3k", 1331],
  ["0x1000", 4096],
  ["7b", 7],
  ["2T", 2 ** 41],
])("%s is %d bytes", (text, bytes) => {
  expect(sizeOf(text)).toBe(bytes);
});

test.each(["", "k", "-1", "1X", "1MM", "1.5", "9E", "1e3", "0x", "0x10k", " 1", "NaN", "Infinity"])(
  "%j is not a size",
  (text) => {
    expect(sizeOf(text)).toBeUndefined();
  },
);

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "0.977 KiB"],
  [200704, "196 KiB"],
  [1382400, "1.32 MiB"],
  [2 ** 30, "1 GiB"],
  [1023.7 * 1024, "1 MiB"],
])("%d bytes are shown as %s", (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});
