import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { HiddenFolder, removeDeadFolders } from "../../../src/state/hidden-folder.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-hidden-"));
afterAll(() => rmSync(folder, { recursive: true }));

let made = 0;
const parent = () => {
  const path = join(folder, String(made++));
  mkdirSync(path);
  return path;
};

/** What a process leaves that was killed. Returns the path of its folder. */
function killed(base: string): string {
  const alive = new HiddenFolder(join(base, "snap"));
  const mark = readFileSync(`${alive.path}.lock`);
  alive.remove();
  const path = join(base, ".snap-0123abcd");
  writeFileSync(`${path}.lock`, mark);
  mkdirSync(path);
  writeFileSync(join(path, "ram"), "new");
  return path;
}

test("what a live process has stays; what it removes leaves nothing", () => {
  const base = parent();
  const hidden = new HiddenFolder(join(base, "snap"));
  removeDeadFolders(base);
  expect(readdirSync(base)).toHaveLength(2);
  hidden.remove();
  expect(readdirSync(base)).toEqual([]);
});

test("files that only have such names are somebody else's", () => {
  const base = parent();
  mkdirSync(join(base, ".snap-01234567"));
  writeFileSync(join(base, ".snap-01234567.lock"), "mine\n");
  removeDeadFolders(base);
  removeDeadFolders(join(base, "nowhere"));
  expect(readdirSync(base)).toEqual([".snap-01234567", ".snap-01234567.lock"]);
});

test("what a killed process left is removed, and nothing else", () => {
  const base = parent();
  mkdirSync(join(base, "snap"));
  killed(base);
  removeDeadFolders(base);
  expect(readdirSync(base)).toEqual(["snap"]);
});

test("a snapshot that was just being replaced is put back, unless its place is taken", () => {
  const base = parent();
  const replace = () => {
    const old = `${killed(base)}-old`;
    mkdirSync(old);
    writeFileSync(join(old, "machine.json"), "old");
  };
  replace();
  removeDeadFolders(base);
  expect([readdirSync(base), readdirSync(join(base, "snap"))]).toEqual([["snap"], ["machine.json"]]);
  writeFileSync(join(base, "snap", "machine.json"), "new");
  replace();
  removeDeadFolders(base);
  expect(readdirSync(base)).toEqual(["snap"]);
  expect(readFileSync(join(base, "snap", "machine.json"), "utf8")).toBe("new");
});
