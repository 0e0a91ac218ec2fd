import { defineConfig } from "vitest/config";

/** Tests of the built package load it as a program does: by Node, not by the test runner's transform. */
const server = { deps: { external: [/\/dist\//] } };

/**
 * Three tiers, by what they need: unit (nothing), kvm (any /dev/kvm), guest
 * (hardware KVM, or the lab). scripts/test.mjs decides where each one runs.
 */
export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts", "test/architecture.test.ts"] } },
      {
        test: {
          name: "kvm",
          include: ["test/kvm/**/*.test.ts"],
          testTimeout: 60_000,
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
          // The lab's emulator resets about one guest in a hundred, of any monitor; the report says "retry".
          retry: process.env.VMEXIT_LAB === undefined ? 0 : 2,
          fileParallelism: false,
          pool: "forks",
          server,
        },
      },
    ],
  },
});
