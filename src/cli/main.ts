#!/usr/bin/env node
/**
 * The command `vmexit`. Starting the process takes a third of a fast boot, so a
 * machine's first thread starts while the other modules are still being loaded,
 * and these with the code that V8 made of them in an earlier run.
 */
import { saveCodeLater } from "../sys/code-cache.ts";
import { startSpareThread } from "../threads/spare.ts";

const RUNS = /\/(qemu-system-x86_64|qemu-kvm|kvm)$/; // see alias.ts
if (process.argv[2] === "run" || RUNS.test(process.argv[1])) startSpareThread();
saveCodeLater();

void import("./commands.ts").then(({ main }) => main(process.argv.slice(2)));
