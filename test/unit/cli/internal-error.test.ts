import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { internalErrorText } from "../../../src/cli/internal-error.ts";

const MODULE = fileURLToPath(new URL("../../../src/cli/internal-error.ts", import.meta.url));
const COMMAND = fileURLToPath(new URL("../../../dist/bundle/main.js", import.meta.url));

/** A program that fails as `code` says, as a process of its own. */
function run(code: string, env: Record<string, string> = {}) {
  const program = `import { catchInternalErrors } from ${JSON.stringify(MODULE)}; catchInternalErrors(); ${code}`;
  const args = ["--experimental-strip-types", "--no-warnings", "--input-type=module", "-e", program];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env } });
}

test("an internal error is one line, says where to report it, and shows no source", () => {
  const text = internalErrorText(new RangeError(`no cluster\nbegins ${"x".repeat(1000)}`), false);
  expect(text).toBe(
    "vmexit: internal error: RangeError: no cluster. Please report this line and the command to the project's issue tracker; VMEXIT_STACK=1 adds where it happened.\n",
  );
  expect(internalErrorText("a string", true)).toContain("internal error: a string.");
  expect(internalErrorText(new Error("x".repeat(30_000)), false).length).toBeLessThan(600);
});

test("the place is there for whoever asks", () => {
  expect(internalErrorText(new Error("why"), true)).toMatch(/\n\s+at .*internal-error\.test\.ts/);
});

test.skipIf(Number(process.versions.node.split(".")[0]) < 22)(
  "what is thrown, rejected or emitted ends so",
  () => {
    for (const code of ["throw new TypeError('gone')", "void Promise.reject(new TypeError('gone'))"]) {
      const { stderr, status } = run(code);
      expect(status).toBe(1);
      expect(stderr).toMatch(/^vmexit: internal error: TypeError: gone\. .*\n$/);
    }
  },
);

test("a reader that leaves is not an internal error", () => {
  const shell = `"${process.execPath}" "${COMMAND}" run --help | head -c 1 >/dev/null; echo \${PIPESTATUS[0]}`;
  expect(execFileSync("bash", ["-c", shell], { encoding: "utf8" })).toMatch(/^(0|141)\n$/);
});
