import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { dispatch } from "../../../src/cli/commands.ts";

let out = "";
let err = "";
beforeEach(() => {
  out = "";
  err = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    err += String(text);
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

test("an unknown command names the nearest and has status 2", async () => {
  expect(await dispatch(["rnu"])).toBe(2);
  expect(err).toBe('vmexit: unknown command "rnu" (did you mean "run"?); vmexit help lists the commands\n');
});

test("options without a command are sent to run", async () => {
  expect(await dispatch(["-kernel", "K"])).toBe(2);
  expect(err).toContain("vmexit run -kernel FILE");
});

test("no command at all prints help and has status 2; asking for help has status 0", async () => {
  expect(await dispatch([])).toBe(2);
  const help = err;
  expect(help).toContain("Usage: vmexit COMMAND");
  for (const words of [["help"], ["--help"], ["-h"]]) {
    out = "";
    expect(await dispatch(words)).toBe(0);
    expect(out).toBe(help);
  }
});

test("the version is the package's", async () => {
  const { version } = JSON.parse(await readFile(new URL("../../../package.json", import.meta.url), "utf8"));
  expect(await dispatch(["version"])).toBe(0);
  expect(out).toBe(`vmexit ${version}\n`);
});

test("help of a command is the command's", async () => {
  expect(await dispatch(["help", "run"])).toBe(0);
  expect(out).toContain("Usage: vmexit run");
});
