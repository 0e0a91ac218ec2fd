/** How test files are given to labs, with a small program in place of a lab. */
import { spawn } from "node:child_process";
import { expect, test } from "vitest";
import { runInLabs } from "../../../scripts/lab-lanes.mjs";
import { MARK } from "../../../scripts/test-results.mjs";

/** `serve(file)` is what a lab does with a file; `report` sends a line to the other end. */
const LAB = `
const report = (message) => console.log(${JSON.stringify(MARK)} + JSON.stringify(message));
const passed = (file) => {
  console.log("output of " + file);
  report({ kind: "ended", file, counts: { passed: 2, failed: 0, skipped: 1 } });
};
let nth = 0;
const begin = (serve) => {
  report({ kind: "ready" });
  require("node:readline").createInterface({ input: process.stdin }).on("line", (file) => serve(file, ++nth));
};
`;

/** Runs `files`; `script` is the lab, which knows as `start` how many were started before it. */
async function run(files: string[], script: string, options: object = {}) {
  let started = 0;
  const shown: string[] = [];
  const warnings: string[] = [];
  const startLab = () =>
    spawn(process.execPath, ["-e", `const start = ${started++};${LAB}${script}`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
  const total = await runInLabs(files, startLab, {
    labs: 1,
    show: (file: string, counts: { failed: number }, output: string) =>
      shown.push(`${file} ${counts.failed} ${output.trim()}`),
    warn: (message: string) => warnings.push(message),
    ...options,
  });
  return { total, started, shown, warnings };
}

test("one lab serves several files, and what each printed is shown with it", async () => {
  const { total, started, shown } = await run(["a", "b"], "begin(passed);");
  expect(total).toEqual({ passed: 4, failed: 0, skipped: 2 });
  expect(started).toBe(1);
  expect(shown).toEqual(["a 0 output of a", "b 0 output of b"]);
});

test("two labs share the files", async () => {
  const { total, started } = await run(["a", "b", "c", "d", "e"], "begin(passed);", { labs: 2 });
  expect(total.passed).toBe(10);
  expect(started).toBe(2);
});

test("a lab that has run for long gets no further file", async () => {
  const { started } = await run(["a", "b", "c"], "begin(passed);", { labMs: 0 });
  // Each lab is too old at once but for the file that it can always have.
  expect(started).toBe(3);
});

test("when a lab dies, only the file that it was at runs again, in another", async () => {
  const { total, started, shown, warnings } = await run(
    ["a", "b", "c"],
    `begin((file) => (start === 0 && file === "b" ? process.exit(125) : passed(file)));`,
  );
  expect(total).toEqual({ passed: 6, failed: 0, skipped: 3 });
  expect(started).toBe(2);
  expect(shown.map((line) => line[0])).toEqual(["a", "c", "b"]);
  expect(warnings).toEqual(["test: the lab died under b, which runs again"]);
});

test("a file under which every lab dies is a failure, and the others are run", async () => {
  const { total, shown } = await run(
    ["a", "b"],
    `begin((file) => (file === "a" ? process.exit(125) : passed(file)));`,
    { deaths: 1 },
  );
  expect(total).toEqual({ passed: 2, failed: 1, skipped: 1 });
  expect(shown[1]).toMatch(/^a 1 .*the lab died under it 2 times$/);
});

test("an end that is not the lab's death is a failure at once", async () => {
  const { total, shown } = await run(["a"], "begin(() => { console.log('why'); process.exit(1); });");
  expect(total.failed).toBe(1);
  expect(shown).toEqual(["a 1 why\ntest: a: no result; exit status 1"]);
});

test("labs that do not come up are not tried for ever, and what did not run has failed", async () => {
  const { total, started, warnings } = await run(["a", "b"], "process.exit(125);", { deaths: 2 });
  expect(total.failed).toBe(2);
  expect(started).toBe(3);
  expect(warnings[0]).toContain("before it could run a test (status 125)");
});
