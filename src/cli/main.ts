#!/usr/bin/env node
/**
 * The command `vmexit`. Starting a process is a third of a fast boot, so each
 * subcommand is loaded only when it is asked for.
 */
import { startSpareThread } from "../threads/spare.ts";
import { endProcess } from "./end-process.ts";

// A machine needs a thread at least: it starts while the rest is loaded.
if (process.argv[2] === "run") startSpareThread();

const { dispatch } = await import("./commands.ts");
endProcess(await dispatch(process.argv.slice(2)));
