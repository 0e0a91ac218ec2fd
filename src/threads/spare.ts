/**
 * Threads that are started before their role is known.
 *
 * Starting a thread takes a third of the time that Node itself takes to start,
 * and can run on another CPU. So the command starts a thread first, and reads its
 * options and the kernel meanwhile; createVm uses a spare thread if there is one.
 */
import { SHARE_ENV, Worker } from "node:worker_threads";

const spares: Worker[] = [];

/** Starts a thread for the next machine. It does not keep the program alive. */
export function startSpareThread(): void {
  spares.push(newThread());
}

/** A thread that waits for its ThreadData as its first message. */
export function takeThread(): Worker {
  return spares.pop() ?? newThread();
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
