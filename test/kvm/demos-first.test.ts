/** The first demos, each run as `vmexit demo NAME` runs it: what they print is what happened. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runDemo } from "../support/demos.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));

test("hello shows one exit for each character, and one for HLT", async () => {
  const lines = await runDemo("hello");
  const exits = lines.filter((line) => /^ +\d+ {2}/.test(line)).map((line) => line.trim().split(/ {2,}/));
  const text = "Hello, world!";
  expect(exits).toEqual([
    ...[...text].map((_, i) => [
      `${i + 1}`,
      "IO",
      "out 0xe9",
      expect.any(String),
      text.slice(0, i + 1).trim(),
    ]),
    [`${text.length + 1}`, "HLT"],
  ]);
  expect(lines).toContain(`The guest said: ${text}`);
});

/** The cells of the rows that `pattern` finds. */
function rows(lines: readonly string[], pattern: RegExp): string[][] {
  return lines.filter((line) => pattern.test(line)).map((line) => line.trim().split(/ {2,}/));
}

test("modes shows each step from real to long mode as the CPU takes it", async () => {
  const lines = await runDemo("modes");
  expect(rows(lines, /^ {2}\d .*→/).map(([, , mode]) => mode)).toEqual([
    "→ real mode, 16-bit code",
    "→ protected mode, 16-bit code",
    "→ protected mode, 32-bit code",
    "→ protected mode, 32-bit code",
    "→ long mode, compatibility: 32-bit code",
    "→ long mode, 64-bit code",
  ]);
  const registers = lines.filter((line) => /^ {2}\d {2}0x/.test(line));
  const has = (word: string) => registers.map((line) => (new RegExp(`\\b${word}\\b`).test(line) ? 1 : 0));
  expect(has("PE")).toEqual([0, 1, 1, 1, 1, 1]);
  expect(has("PG")).toEqual([0, 0, 0, 0, 1, 1]);
  expect(has("LME")).toEqual([0, 0, 0, 1, 1, 1]);
  expect(has("LMA")).toEqual([0, 0, 0, 0, 1, 1]);
  expect(has("D=1")).toEqual([0, 0, 1, 1, 1, 0]);
  expect(has("L=1")).toEqual([0, 0, 0, 0, 0, 1]);
  expect(has("0x0008")).toEqual([0, 0, 1, 1, 1, 0]);
  expect(lines).toContain(
    "The guest read the same CR0, EFER and CS selector at every step as KVM_GET_SREGS gave.",
  );
  expect(lines).toContain("Its last word, from a 64-bit register in two halves: 0x0123456789abcdef.");
});

test("entry-exit narrates exactly the two exits of its three instructions, with times", async () => {
  const lines = await runDemo("entry-exit");
  const exits = rows(lines, /^ +\d+ {2}[A-Z]+ /);
  const time = /^\d+(\.\d+)? (ns|µs|ms|s)$/;
  const [output, halt] = exits;
  expect(output.slice(0, 3)).toEqual(["1", "IO", "out 0xe9 1 'H'"]);
  expect(halt.slice(0, 2)).toEqual(["2", "HLT"]);
  expect(output.slice(-2)).toEqual([expect.stringMatching(time), expect.stringMatching(time)]);
  expect(halt.at(-2)).toMatch(time);
  // Where RIP is at an OUT is KVM's choice; the demo says which it was.
  const behind = lines.some((line) => line.startsWith("At the IO exit RIP is behind the OUT"));
  expect(output[3]).toBe(behind ? "0x1004" : "0x1002");
  expect(output[4]).toBe(behind ? "hlt" : "out 0xe9, al");
  // The second guest's numbering begins anew.
  expect(exits[2][0]).toBe("1");
});

test("entry-exit shows one of each kind: widths, answers, strings, memory", async () => {
  const lines = await runDemo("entry-exit");
  const exits = rows(lines, /^ +\d+ {2}[A-Z]+ /).slice(2);
  const outs = ["v", "m", "e", "x"].map((letter) => ["IO", `out 0x80 1 '${letter}'`]);
  expect(exits.slice(0, -1).map(([, reason, what]) => [reason, what])).toEqual([
    ["IO", "in 0x80 1 'v'"],
    ["IO", "out 0x80 1 'v'"],
    ["IO", "out 0x80 2 0x5678"],
    ["IO", "out 0x80 4 0x12345678"],
    ["IO", "in 0x80 1 'v' 'm' 'e' 'x'"],
    ...outs,
    ["MMIO", "read 0xd0004 4 0x78656d76"],
    ["MMIO", "write 0xd0008 4 0x78656d76"],
  ]);
  expect(exits.at(-1)?.[1]).toBe("HLT");
  const [[, counted]] = rows(lines, /returns of KVM_RUN, counted here/);
  expect(Number(counted)).toBe(exits.length + 1000 + 1);
  const [[, byKvm]] = rows(lines, /^ {2}exits: all/);
  expect(Number(byKvm)).toBeGreaterThanOrEqual(Number(counted) - 1);
});

test("mmio shows the guest's loads and stores as exits, and none where RAM took the window's place", async () => {
  const lines = await runDemo("mmio");
  const exits = rows(lines, /^ {2}MMIO /).map((cells) => cells.slice(1, 5));
  expect(exits).toEqual([
    ["load", "0xd0000", "4", "→ 0x31525153"],
    ["store", "0xd0004", "4", "← 0xc"],
    ["load", "0xd0008", "4", "→ 0x90"],
    ["load", "0xd0004", "4", "→ 0xc"],
    ["store", "0xd0004", "4", "← 0xd"],
    ["load", "0xd0008", "4", "→ 0xa9"],
    ["load", "0xd0001", "1", "→ 0x51"],
    ["load", "0xd0100", "4", "→ 0xffffffff"],
    ["load", "0xd0ffe", "2", "→ 0xffff"],
    ["load", "0xd1000", "2", "→ 0xffff"],
    // With RAM there: what lies behind it is all that is left.
    ["load", "0xd1000", "2", "→ 0xffff"],
  ]);
  expect(rows(lines, /^ {2}(ID|SQUARE of 12|SQUARE after|across)/)).toEqual([
    ["ID", '"SQR1"'],
    ["SQUARE of 12", "144"],
    ["SQUARE after inc OPERAND", "169"],
    ["across the window's end", "0xffffffff"],
    ["ID", '"RAM!"'],
    ["SQUARE of 12", "0"],
    ["SQUARE after inc OPERAND", "0"],
    ["across the window's end", "0xffff0000"],
  ]);
});

test("the command runs a demo of the list, and lists them for a name that is not there", () => {
  const vmexit = (...words: string[]) => spawnSync(process.execPath, [MAIN, ...words], { encoding: "utf8" });
  const list = vmexit("demo");
  expect([list.status, list.stderr]).toEqual([0, ""]);
  expect(list.stdout).toMatch(/^ {2}hello +a real-mode guest/m);
  const hello = vmexit("demo", "hello");
  expect([hello.status, hello.stderr]).toEqual([0, ""]);
  expect(hello.stdout).toContain("The guest said: Hello, world!\n");
  const unknown = vmexit("demo", "helo");
  expect([unknown.status, unknown.stdout]).toEqual([2, ""]);
  expect(unknown.stderr).toContain('(did you mean "hello"?)');
  expect(unknown.stderr).toContain(list.stdout);
});
