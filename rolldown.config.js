import { defineConfig } from "rolldown";

/**
 * dist/ holds the compiled modules; dist/bundle/ the same code in few files,
 * which is what programs and the command load: the process and each of its
 * threads pay for every file anew. The library's entries share theirs, so that a
 * class is one class; the command and the threads have a file each.
 */
const common = {
  platform: "node",
  external: ["bindings"],
  logLevel: "warn",
  checks: { ineffectiveDynamicImport: false },
};
// Names without hashes, so that a program that runs finds its files after a rebuild.
const output = { dir: "dist/bundle", format: "esm", chunkFileNames: "[name].js" };

export default defineConfig([
  {
    ...common,
    input: { index: "dist/index.js", kvm: "dist/kvm/kvm.js" },
    output,
  },
  {
    ...common,
    input: { thread: "dist/threads/thread.js" },
    output,
  },
  {
    ...common,
    input: { main: "dist/cli/main.js" },
    output: {
      ...output,
      // main.js starts a thread before it loads the rest: that is one more file.
      codeSplitting: {
        groups: [
          { name: "spare", test: /threads.spare/, priority: 1 },
          { name: "command", test: /dist.(?!cli.main)/ },
        ],
      },
    },
  },
]);
