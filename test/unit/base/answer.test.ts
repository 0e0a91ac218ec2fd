import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { Answer } from "../../../src/base/answer.ts";

const newWords = () => new Int32Array(new SharedArrayBuffer(4 * Answer.WORDS));

test("the caller sleeps until another thread has answered", async () => {
  const words = newWords();
  const answer = new Answer(words);
  answer.expect();
  // As `give` does it, after the caller has gone to sleep.
  const other = new Worker(
    `const { workerData: words } = require("node:worker_threads");
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
     words[1] = -28;
     Atomics.store(words, 0, 1);
     Atomics.notify(words, 0);`,
    { eval: true, workerData: words },
  );
  expect(answer.wait()).toBe(-28);
  await other.terminate();
});

test("each question has an answer of its own, and the first one counts", () => {
  const answer = new Answer(newWords());
  answer.expect();
  answer.give(1);
  answer.give(2);
  expect(answer.wait()).toBe(1);
  answer.expect();
  answer.give(3);
  expect(answer.wait()).toBe(3);
});

test("a thread that has ended has answered whatever is asked later", () => {
  const answer = new Answer(newWords());
  answer.expect();
  answer.end(-5);
  expect(answer.wait()).toBe(-5);
  answer.expect();
  answer.give(0);
  expect(answer.wait()).toBe(-5);
});
