/**
 * A second thread with the addon. It runs a few lines of plain JavaScript, with
 * `native` (the addon), `data` (its input) and `post` in scope.
 */
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

const ADDON =
  process.env.VMEXIT_ADDON ?? fileURLToPath(new URL("../../build/Release/vmexit.node", import.meta.url));

export class AddonThread {
  readonly #worker: Worker;
  readonly #exit: Promise<unknown>;

  /** @param code posts "ready" when the test may continue, and its result at the end */
  constructor(code: string, data: unknown) {
    const prelude = `
      const { parentPort, workerData } = require("node:worker_threads");
      const native = require(workerData.addon);
      const data = workerData.data;
      const post = (message) => parentPort.postMessage(message);
    `;
    this.#worker = new Worker(prelude + code, { eval: true, workerData: { addon: ADDON, data } });
    this.#exit = once(this.#worker, "exit");
  }

  async message(): Promise<unknown> {
    const [message]: unknown[] = await once(this.#worker, "message");
    return message;
  }

  /** Waits until the thread has ended. */
  async end(): Promise<void> {
    await this.#exit;
  }
}
