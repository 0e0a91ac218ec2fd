import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { Call } from "../../../src/base/call.ts";

const newWords = () => new Int32Array(new SharedArrayBuffer(4 * Call.WORDS));

test("the caller sleeps until another thread has replied", async () => {
  const words = newWords();
  const call = new Call(words);
  expect(call.begin()).toBe(true);
  // As `reply` does it, after the caller has gone to sleep.
  const other = new Worker(
    `const { workerData: words } = require("node:worker_threads");
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
     words[1] = -28;
     Atomics.store(words, 0, 0);
     Atomics.notify(words, 0);`,
    { eval: true, workerData: words },
  );
  expect(call.wait()).toBe(-28);
  await other.terminate();
});

test("each call has its reply, and the first one counts", () => {
  const call = new Call(newWords());
  call.begin();
  call.reply(1);
  call.reply(2);
  expect(call.wait()).toBe(1);
  call.begin();
  call.reply(3);
  expect(call.wait()).toBe(3);
});

test("a side that has ended has replied to every later call, and no call need be sent to it", () => {
  const call = new Call(newWords());
  call.begin();
  call.end(-5);
  expect(call.wait()).toBe(-5);
  expect(call.begin()).toBe(false);
  call.reply(0);
  expect(call.wait()).toBe(-5);
});

test("a notification that comes late, of the reply before, does not end the next call", async () => {
  const words = newWords();
  const call = new Call(words);
  call.begin();
  call.reply(1);
  expect(call.wait()).toBe(1);
  expect(call.begin()).toBe(true);
  const other = new Worker(
    `const { workerData: words } = require("node:worker_threads");
     const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
     while (Atomics.notify(words, 0) === 0) sleep(1);
     sleep(20);
     words[1] = 2;
     Atomics.store(words, 0, 0);
     Atomics.notify(words, 0);`,
    { eval: true, workerData: words },
  );
  expect(call.wait()).toBe(2);
  await other.terminate();
});
