/**
 * Runs test files in labs, several labs at a time. A lab serves one file after another, for a lab and
 * the test runner in it take half a minute to start; when it dies, only the file that it was at runs again.
 *
 * The other end, in the lab, is scripts/lab-tests.mjs.
 */
import { createInterface } from "node:readline";
import { add, MARK, noTests } from "./test-results.mjs";

/** lab/lab's exit status when the lab itself died or hung: the only one worth a retry. */
const LAB_DIED = 125;

/** @typedef {import("./test-results.mjs").Counts} Counts */

/** One lab, from its start to its end. */
class Lab {
  #child;
  #status;
  /** What was printed since the last report. */
  #text = "";
  #reports = [];
  #wake = () => {};

  /** @param {import("node:child_process").ChildProcessByStdio<any, any, any>} child with pipes */
  constructor(child) {
    this.#child = child;
    this.ended = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) => {
        this.#status = signal ?? status;
        this.#wake();
        resolve(this.#status);
      });
    });
    child.stdin.on("error", () => {}); // it ended: `ended` says how
    createInterface({ input: child.stdout }).on("line", (line) => {
      const at = line.indexOf(MARK); // behind what was printed without a line's end
      if (at < 0) {
        this.#text += `${line}\n`;
        return;
      }
      this.#reports.push({
        ...JSON.parse(line.slice(at + MARK.length)),
        output: this.#text + line.slice(0, at),
      });
      this.#text = "";
      this.#wake();
    });
  }

  /** What was printed since the last report. */
  get output() {
    return this.#text;
  }

  /** The next report; undefined if the lab ends first. */
  async report() {
    while (this.#reports.length === 0 && this.#status === undefined) {
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined);
      });
    }
    return this.#reports.shift();
  }

  run(file) {
    this.#child.stdin.write(`${file}\n`);
    return this.report();
  }

  close() {
    this.#child.stdin.end();
    return this.ended;
  }
}

/**
 * @param {readonly string[]} files
 * @param {() => import("node:child_process").ChildProcessByStdio<any, any, any>} startLab
 * @param {object} options
 * @param {number} [options.labs] at the same time: each has an emulated CPU that is busy and one that mostly waits
 * @param {number} [options.labMs] a lab that has run for so long gets no further file
 * @param {number} [options.deaths] of labs under one file, or before they were ready, that are followed by another try
 * @param {(file: string, counts: Counts, output: string, time: { ms: number, slowness: number }) => void} [options.show]
 *   called when a file has ended
 * @param {(message: string) => void} [options.warn]
 * @returns {Promise<Counts>} a file that could not be run is a failure
 */
export async function runInLabs(files, startLab, options = {}) {
  const { labs = 2, labMs = 600_000, deaths = 3, show = () => {}, warn = () => {} } = options;
  const total = noTests();
  const waiting = [...files];
  const died = new Map();
  let unready = 0;

  const fail = (file, output, why, began) => {
    const counts = { ...noTests(), failed: 1 };
    add(total, counts);
    show(file, counts, `${output}test: ${file}: ${why}\n`, { ms: Date.now() - began, slowness: 1 });
  };

  const lane = async () => {
    while (waiting.length > 0 && unready <= deaths) {
      const lab = new Lab(startLab());
      const started = Date.now();
      if ((await lab.report()) === undefined) {
        unready++;
        warn(`${lab.output}test: a lab ended before it could run a test (status ${await lab.ended})`);
        continue;
      }
      for (let first = true; waiting.length > 0 && (first || Date.now() - started < labMs); first = false) {
        const file = waiting.shift();
        const began = Date.now();
        const report = await lab.run(file);
        if (report !== undefined) {
          add(total, report.counts);
          show(file, report.counts, report.output, { ms: Date.now() - began, slowness: report.slowness });
          continue;
        }
        const status = await lab.ended;
        const times = (died.get(file) ?? 0) + 1;
        died.set(file, times);
        if (status !== LAB_DIED) fail(file, lab.output, `no result; exit status ${status}`, began);
        else if (times > deaths) fail(file, lab.output, `the lab died under it ${times} times`, began);
        else {
          warn(`test: the lab died under ${file}, which runs again`);
          waiting.push(file);
        }
        break;
      }
      await lab.close();
    }
  };
  await Promise.all(Array.from({ length: Math.min(labs, files.length) }, lane));
  for (const file of waiting) fail(file, "", "no lab came up for it", Date.now());
  return total;
}
