/** The first demos, each run as `vmexit demo NAME` runs it: what they print is what happened. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runDemo } from "../support/demos.ts";

const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));

test("hello shows one exit a character, and one for HLT", async () => {
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
