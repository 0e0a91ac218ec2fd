import { fileURLToPath } from "node:url";
import { defineConfig } from "rolldown";

/**
 * dist/ holds the compiled modules. The same code in few files is what programs
 * (dist/library/) and the command (dist/bundle/) load: the process and each of
 * its threads pay for every file anew. The library's entries share theirs, so
 * that a class is one class; the command and the threads have a file each.
 *
 * The command is CommonJS, which Node starts 8 % faster than the same as modules.
 * What is imported where it is needed (img, gdb, reports) is in files of its own. The
 * code that V8 makes of these files is kept between runs: see src/sys/code-cache.ts.
 */
/**
 * One character beyond Latin-1 makes V8 keep the whole file at two bytes a character, in the process and in each
 * thread. Without comments only literals have such characters, and there an escape means the same. Of ASCII alone, a
 * file is the same in each encoding: sys/code-cache.ts reads it in the quickest.
 */
const ascii = {
  name: "ascii",
  generateBundle(_, files) {
    for (const file of Object.values(files)) {
      if (file.type === "chunk") file.code = file.code.replace(/[^\0-\x7f]/g, escaped);
    }
  },
};
const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
const common = {
  platform: "node",
  external: ["bindings", "iced-x86", "@bokuweb/zstd-wasm", "vitest"],
  logLevel: "warn",
  checks: { ineffectiveDynamicImport: false },
  plugins: [ascii],
};
/**
 * What the command needs of these modules of Node's, functions need that most runs do not call. Together they take
 * a fifth of the time in which Node itself starts, so each is loaded when it is first used.
 */
const LATE = /\b(?:let|const) (\w+)=require\("(node:(?:crypto|zlib|fs\/promises|timers\/promises))"\);/g;
const quickStart = {
  name: "quick-start",
  generateBundle(_, files) {
    for (const file of Object.values(files)) {
      if (file.type !== "chunk") continue;
      file.code = file.code.replace(
        LATE,
        (_, name, id) => `const ${name}=new Proxy({},{get:(_,key)=>require("${id}")[key]});`,
      );
      // V8 forgets with cached code who imports.
      file.code = file.code.replace(/(?<![.\w])import\(/g, 'require("./code-cache.js").importModule(');
      // The files behind the command are loaded with their code: see sys/code-cache.ts.
      if (file.fileName === "main.js") file.code = file.code.replace(/^(#!.*\n)?/, `$1${CACHED}`);
    }
  },
};
const CACHED = 'require=require("./code-cache.js").cachedRequire(__dirname,require);';
const codeCache = { "code-cache": "dist/sys/code-cache.js" };
/** Not a copy of it: it has loaded the file that imports it. */
const oneCodeCache = {
  name: "one-code-cache",
  resolveId: (id) => (/sys\/code-cache\.js$/.test(id) ? { id: "./code-cache.js", external: true } : null),
};
const cached = { ...common, plugins: [oneCodeCache, ascii, quickStart] };
/** What is always loaded together is one file: with their dependencies, those that no earlier group has. */
const files = (groups) => ({
  codeSplitting: {
    groups: Object.entries(groups).map(([name, test], n, { length }) => ({
      name,
      test,
      priority: length - n,
    })),
  },
});
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
  { ...common, input: codeCache, output: command },
  {
    ...cached,
    input: { "thread-role": "dist/threads/thread.js" }, // bundle.mjs makes thread.js, which loads it
    output: {
      ...command,
      ...threadChunks,
      ...files({ vcpu: /dist\/(threads\/vcpu-thread|machine\/boards\/microvm)\.js$/ }),
    },
  },
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
    ...cached,
    input: { main: "dist/cli/main.js" },
    output: {
      ...command,
      ...files({
        spare: /dist\/threads\/spare\.js$/, // main.js starts a thread before it loads anything else
        images: /dist\/images\/open-image\.js$/,
        commands: /dist\/cli\/commands\.js$/,
        vm: /dist\/(vm\/create-vm|machine\/boards\/microvm)\.js$/,
      }),
    },
  },
]);
