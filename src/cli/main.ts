#!/usr/bin/env node
/**
 * The command `vmexit`. Starting a process is a third of a fast boot, so each
 * subcommand is loaded only when it is asked for.
 */
import { dispatch } from "./commands.ts";
import { endProcess } from "./end-process.ts";

endProcess(await dispatch(process.argv.slice(2)));
