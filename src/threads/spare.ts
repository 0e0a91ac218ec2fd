/**
 * Threads that wait for a role.
 *
 * Starting a thread takes a third of the time that Node itself takes to start,
 * and can run on another CPU. So the command starts a thread first, and reads its
 * options and the kernel meanwhile; createVm uses a spare thread if there is one.
 * A thread whose role has ended becomes a spare, so that a program that makes one
 * machine after another starts no threads.
 */
import { SHARE_ENV, Worker } from "node:worker_threads";

/** Threads beyond these end with their role. */
const MOST_SPARES = 8;
/** After so long without a use they end, because each takes some MiB. */
const IDLE_MS = 30_000;

const spares: Worker[] = [];
/** Ends the spares, IDLE_MS after the last one was returned. */
let timer: NodeJS.Timeout | undefined;

/** Starts a thread for the next machine. It does not keep the program alive. */
export function startSpareThread(): void {
  spares.push(newThread());
}

/** A thread that waits for its ThreadData. */
export function takeThread(): Worker {
  return spares.pop() ?? newThread();
}

/** Takes a thread that waits for its ThreadData again. Its listeners are the caller's to remove. */
export function returnThread(worker: Worker): void {
  if (spares.length >= MOST_SPARES) {
    void worker.terminate();
    return;
  }
  worker.unref();
  spares.push(worker);
  timer ??= setTimeout(endSpares, IDLE_MS).unref();
  timer.refresh();
}

function endSpares(): void {
  timer = undefined;
  for (const worker of spares.splice(0)) void worker.terminate();
}

function newThread(): Worker {
  const worker = new Worker(new URL("./thread.js", import.meta.url), {
    name: "vmexit",
    execArgv: [],
    env: SHARE_ENV,
    trackUnmanagedFds: false,
  });
  worker.unref();
  return worker;
}
