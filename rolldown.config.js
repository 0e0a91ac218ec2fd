import { defineConfig } from "rolldown";

/**
 * dist/ holds the compiled modules; dist/bundle/ the same code in few files, which
 * is what programs and the command load. A process and each of its threads load
 * it anew, and 60 small modules take twice the time of these.
 */
export default defineConfig({
  input: {
    index: "dist/index.js",
    kvm: "dist/kvm/kvm.js",
    main: "dist/cli/main.js",
    thread: "dist/threads/thread.js",
  },
  platform: "node",
  external: ["bindings"],
  output: { dir: "dist/bundle", format: "esm", cleanDir: true },
});
