import { fileURLToPath } from "node:url";
import { defineConfig } from "rolldown";

/**
 * dist/ holds the compiled modules. The same code in few files is what programs
 * (dist/library/) and the command (dist/bundle/) load: the process and each of
 * its threads pay for every file anew. The library's entries share theirs, so
 * that a class is one class; the command and the threads have a file each.
 *
 * The command is CommonJS, which Node starts 8 % faster than the same as modules.
 * What is imported where it is needed (img, gdb, reports) is in files of its own.
 */
/**
 * One character beyond Latin-1 makes V8 keep the whole file at two bytes a character, in the process and in each
 * thread. Without comments only literals have such characters, and there an escape means the same.
 */
const latin1 = {
  name: "latin-1",
  generateBundle(_, files) {
    for (const file of Object.values(files)) {
      if (file.type === "chunk") file.code = file.code.replace(/[^\0-\xff]/g, escaped);
    }
  },
};
const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
const common = {
  platform: "node",
  external: ["bindings", "iced-x86", "@bokuweb/zstd-wasm", "vitest"],
  logLevel: "warn",
  checks: { ineffectiveDynamicImport: false },
  plugins: [latin1],
};
// Names without hashes, so that a program that runs finds its files after a rebuild.
const library = { dir: "dist/library", format: "esm", chunkFileNames: "[name].js", comments: false };
/** Not the library's own files: an error that a program does not catch prints the line that threw it. */
const minify = { compress: false, mangle: false, codegen: { removeWhitespace: true } };
const command = { dir: "dist/bundle", format: "cjs", chunkFileNames: "[name].js", minify };
/** A board that threads load is not the file that the program loads: each has its own copy of what they share. */
const threadChunks = { chunkFileNames: "thread-[name].js", minify };
const thread = { thread: "dist/threads/thread.js" };
/** What a program that waits for an NBD server talks to. */
const remoteThread = { "remote-thread": "dist/nbd/remote-thread.js" };

/** The workspace package behind `vmexit trace report`, as compiled. */
const traceReport = "packages/trace-report/dist";

/** Stands in every report, which is a copy of this code. */
const NOTICE = `/*! vmexit, Apache-2.0. With Apache ECharts, (c) The Apache Software Foundation, Apache-2.0;
ZRender, (c) Baidu Inc., BSD-3-Clause; tslib, (c) Microsoft, 0BSD. */`;

export default defineConfig([
  {
    ...common,
    input: {
      index: "dist/index.js",
      kvm: "dist/kvm/kvm.js",
      block: "dist/block.js",
      network: "dist/network.js",
      trace: "dist/trace.js",
    },
    output: library,
  },
  {
    // Beside the others, and not one of them: it needs only what a program has, and they stay as they are.
    ...common,
    external: [...common.external, "./index.js"],
    input: { vitest: "dist/vitest.js" },
    output: library,
  },
  { ...common, input: thread, output: { ...library, ...threadChunks } },
  { ...common, input: thread, output: { ...command, ...threadChunks } },
  { ...common, input: remoteThread, output: library },
  { ...common, input: remoteThread, output: command },
  {
    // For a browser, and with all that it needs: a report has one script and no other file.
    logLevel: "warn",
    platform: "browser",
    input: { "report-page": `${traceReport}/page/page.js` },
    output: { dir: "dist/bundle", format: "iife", minify: true, postBanner: NOTICE },
  },
  {
    ...common,
    input: { "trace-report": `${traceReport}/src/write-report.js` },
    // Not the entry that a program loads: the bundle is to hold what it needs of it.
    resolve: { alias: { "vmexit/trace": fileURLToPath(new URL("dist/trace.js", import.meta.url)) } },
    output: command,
  },
  {
    ...common,
    input: { main: "dist/cli/main.js" },
    output: command,
  },
]);
