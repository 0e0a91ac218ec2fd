import { expect, test } from "vitest";
import { flag, HelpAsked, optionLines, readCommandLine, refused } from "../../../../src/cli/img/options.ts";
import { parseSize, sizeOf, sizeText } from "../../../../src/cli/img/sizes.ts";
import { text } from "../../../../src/config/value.ts";

const OPTIONS = {
  format: { names: ["f", "format"], type: text("FMT"), default: "none", help: "the format" },
  quiet: flag(["q", "quiet"], "print only errors"),
  force: flag(["force"], "do it"),
  gone: refused(["gone"], "", "it never came"),
} as const;

const read = (...argv: string[]) => readCommandLine(argv, OPTIONS);

test("options stand before, between and behind operands, in all of getopt's spellings", () => {
  for (const argv of [
    ["-q", "-f", "raw", "a", "b"],
    ["a", "-qfraw", "b"],
    ["a", "b", "--format=raw", "-q"],
    ["a", "--form=x", "--format", "raw", "b", "--quiet"],
    ["-qf", "raw", "--", "a", "b"],
  ]) {
    const { operands, options } = read(...argv);
    expect({ operands, ...options }).toEqual({
      operands: ["a", "b"],
      format: "raw",
      quiet: true,
      force: false,
      gone: undefined,
    });
  }
});

test("given options are listed in their order, and defaults fill the rest", () => {
  expect(read("--force", "-q", "--force").given).toEqual(["force", "quiet", "force"]);
  expect(read().options.format).toBe("none");
});

test("behind -- everything is an operand, and so is a dash", () => {
  expect(read("-", "--", "-f", "--q").operands).toEqual(["-", "-f", "--q"]);
});

test("errors have getopt's words and the nearest name", () => {
  expect(() => read("--fromat=raw")).toThrow(
    "unrecognized option '--fromat=raw' (did you mean \"--format\"?)",
  );
  expect(() => read("-x")).toThrow("invalid option -- 'x'");
  expect(() => read("a", "-f")).toThrow("option requires an argument -- 'f'");
  expect(() => read("--format")).toThrow("option '--format' requires an argument");
  expect(() => read("--force=1")).toThrow("option '--force' doesn't allow an argument");
  expect(() => read("--fo")).toThrow("option '--fo' is ambiguous; possibilities: '--format' '--force'");
  expect(() => read("--gone")).toThrow("--gone is not supported: it never came");
});

test("-h and --help are asked anywhere, and --he is one", () => {
  for (const word of ["-h", "--help", "--he"]) expect(() => read("a", "-q", word)).toThrow(HelpAsked);
  expect(read("-f", "-h").options.format).toBe("-h");
});

test("help has an option and what it does in two lines", () => {
  expect(optionLines(OPTIONS)).toBe(
    "  -h, --help\n     print this help and exit\n  -f, --format FMT\n     the format\n  -q, --quiet\n     print only errors\n  --force\n     do it\n  --gone\n     not supported: it never came\n",
  );
});

test("a size that is not one is named", () => {
  expect(() => parseSize("1X", "image size")).toThrow("Invalid image size specified: '1X'");
  expect(() => parseSize("9E", "image size")).toThrow("Must be between 0 and 9007199254740991.");
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
