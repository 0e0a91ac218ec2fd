import { expect, test } from "vitest";
import { add, count, countModules, inWords, noTests } from "../../../scripts/test-results.mjs";

function report(success: boolean, ...files: { status: string; tests: string[] }[]) {
  return {
    success,
    testResults: files.map(({ status, tests }) => ({
      status,
      assertionResults: tests.map((each) => ({ status: each })),
    })),
  };
}

test("tests are counted by how they ended, and what did not run is skipped", () => {
  const file = { status: "failed", tests: ["passed", "failed", "passed", "skipped", "todo", "pending"] };
  expect(count(report(false, file))).toEqual({ passed: 2, failed: 1, skipped: 3 });
});

test("a file that breaks before its first test is a failure", () => {
  const good = { status: "passed", tests: ["passed"] };
  const broken = { status: "failed", tests: [] };
  expect(count(report(false, good, broken))).toEqual({ passed: 1, failed: 1, skipped: 0 });
});

test("a failure outside of every test is a failure", () => {
  expect(count(report(false, { status: "passed", tests: ["passed"] })).failed).toBe(1);
});

test("the summary names skipped tests only if there are some", () => {
  const total = noTests();
  add(total, { passed: 3, failed: 0, skipped: 0 });
  expect(inWords(total)).toBe("3 passed, 0 failed");
  add(total, { passed: 1, failed: 2, skipped: 5 });
  expect(inWords(total)).toBe("4 passed, 2 failed, 5 skipped");
});

function module(ok: boolean, ...states: ("passed" | "failed" | "skipped")[]) {
  const tests = states.map((state) => ({ result: () => ({ state }) }));
  return { ok: () => ok, children: { allTests: () => tests } };
}

test("files that a lab ran are counted as a report counts them", () => {
  const counts = countModules([module(false, "passed", "failed", "skipped"), module(true, "passed")], []);
  expect(counts).toEqual({ passed: 2, failed: 1, skipped: 1 });
});

test("a file that breaks before its first test in a lab, or outside of every test, is a failure", () => {
  expect(countModules([module(false)], []).failed).toBe(1);
  expect(countModules([module(true, "passed")], [new Error("later")]).failed).toBe(1);
});
