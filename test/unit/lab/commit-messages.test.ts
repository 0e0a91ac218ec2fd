import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { check, codeOf, faultsOf } from "../../../scripts/commit-messages.mjs";

const folder = mkdtempSync(join(tmpdir(), "vmexit-unit-"));
afterAll(() => rmSync(folder, { recursive: true }));

const good = { subject: "lab: a lab that hangs is found", body: "Why.\n", changesCode: true };

test("a subject of 72 columns is right, and one more is a fault", () => {
  const subject = `lab: ${"x".repeat(67)}`;
  expect(faultsOf({ ...good, subject })).toEqual([]);
  expect(faultsOf({ ...good, subject: `${subject}x` })).toEqual([
    "its subject has 73 columns, and may have 72",
  ]);
});

test.each([
  [{ subject: "Merge branch 'ff'" }, /bare merge/],
  [{ subject: "small fixes" }, /not of the form "area: /],
  [{ body: "\n" }, /no body that says why/],
])("%j is a fault", (change, fault) => {
  expect(faultsOf({ ...good, ...change })).toEqual([expect.stringMatching(fault)]);
});

test("a change of comments and wording alone needs no body", () => {
  expect(faultsOf({ ...good, body: "", changesCode: false })).toEqual([]);
});

test.each([
  ["a.ts", "f(1); // old", "f(\n  1,\n); // new", true],
  ["a.ts", "/* old */ f(1);", "/** new */ f(1);", true],
  ["a.ts", "fail(`that is wrong`);", "fail(`that is not right`);", true],
  ["a.ts", 'open("a");', 'open("b");', false],
  ["a.ts", 'open("http://a");', 'open("http://b");', false],
  ["a.ts", "f(1);", "f(2);", false],
  ["lab/lab", "#!/bin/bash\nrun # old", "#!/bin/bash\nrun # new", true],
  ["lab/lab", "#!/bin/bash\nrun a", "#!/bin/bash\nrun b", false],
  ["docs/a.md", "old", "new", true],
])("in %s, %j and %j are the same code: %s", (path, before, after, same) => {
  expect(codeOf(path, before) === codeOf(path, after)).toBe(same);
});

test("a repository's commits are checked, and in a shallow clone those that are there", () => {
  const origin = join(folder, "origin");
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], { stdio: "pipe" });
  git("init", "-q", origin);
  const commit = (subject: string, text: string) => {
    writeFileSync(join(origin, "a.ts"), text);
    git("-C", origin, "add", "a.ts");
    git("-C", origin, "commit", "-qm", subject);
  };
  commit("a: begins", "f(1);");
  commit("a: says more", "f(1); // more");
  commit("a: does more", "f(2); // more");
  commit("a: says less", "f(2);");
  expect(check(origin)).toEqual({
    checked: 4,
    faults: [expect.stringMatching(/^\w{9} a: does more\n {4}it changes code, and has no body/)],
  });
  const clone = join(folder, "clone");
  git("clone", "-q", "--depth", "2", `file://${origin}`, clone);
  expect(check(clone)).toEqual({ checked: 2, faults: [] });
});

test("outside of a repository nothing is checked", () => {
  const files = mkdtempSync(join(folder, "files-"));
  expect(check(files)).toEqual({ checked: 0, faults: [] });
});
