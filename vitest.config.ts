import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Tests of the built package load it as a program does: by Node, not by the test runner's transform. */
const server = { deps: { external: [/\/dist\//] } };

// For scripts/sanitize: the sanitizers' libraries are loaded first in the processes that run tests, and only there.
// Many programs that tests start would not end with them.
const { VMEXIT_PRELOAD } = process.env;
if (VMEXIT_PRELOAD !== undefined) process.env.LD_PRELOAD = VMEXIT_PRELOAD;
const execArgv =
  VMEXIT_PRELOAD === undefined ? [] : ["--import", "data:text/javascript,delete process.env.LD_PRELOAD"];

/**
 * Three tiers, by what they need: unit (nothing), kvm (any /dev/kvm), guest
 * (hardware KVM, or the lab). scripts/test.mjs decides where each one runs.
 * Examples that are test files are run by scripts/example.mjs.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "example",
          include: ["examples/*.test.ts"],
          testTimeout: 300_000,
          pool: "forks",
          server,
        },
      },
      {
        // As in packages/trace-report/tsconfig.json.
        resolve: { alias: { "vmexit/trace": fileURLToPath(new URL("src/trace.ts", import.meta.url)) } },
        test: {
          name: "unit",
          execArgv,
          include: ["test/unit/**/*.test.ts", "packages/*/test/**/*.test.ts", "test/architecture.test.ts"],
          // vitest's five seconds are too few on a busy machine: a limit is for what hangs.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "kvm",
          execArgv,
          include: ["test/kvm/**/*.test.ts"],
          testTimeout: 60_000,
          setupFiles: ["test/support/lab-limits.ts"],
          fileParallelism: false,
          pool: "forks",
          server,
        },
      },
      {
        test: {
          name: "guest",
          include: ["test/guest/**/*.test.ts"],
          testTimeout: 300_000,
          setupFiles: ["test/support/lab-limits.ts"],
          // In the lab about one guest in a hundred is reset, of any monitor. The report then says "retry".
          retry: process.env.VMEXIT_LAB === undefined ? 0 : 2,
          fileParallelism: false,
          pool: "forks",
          server,
        },
      },
    ],
  },
});
