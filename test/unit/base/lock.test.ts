import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { Lock } from "../../../src/base/lock.ts";
import { isHeld } from "../../support/locks.ts";

test("a lock is free, held, and free again", () => {
  const lock = new Lock(new Int32Array(new SharedArrayBuffer(8)), 1);
  expect(isHeld(lock)).toBe(false);
  lock.acquire();
  expect(isHeld(lock)).toBe(true);
  lock.release();
  expect(isHeld(lock)).toBe(false);
});

test("a release wakes the thread that waits", async () => {
  const words = new Int32Array(new SharedArrayBuffer(4));
  const lock = new Lock(words, 0);
  lock.acquire();
  // The other thread says that it waits (2), as the lock's third state does, and sleeps.
  const waiter = new Worker(
    `const { workerData: words, parentPort } = require("node:worker_threads");
     Atomics.store(words, 0, 2);
     parentPort.postMessage("waiting");
     parentPort.postMessage(Atomics.wait(words, 0, 2, 10000));`,
    { eval: true, workerData: words },
  );
  const messages: string[] = [];
  const woken = new Promise<void>((resolve) => {
    waiter.on("message", (message) => {
      messages.push(message);
      if (message === "waiting") lock.release();
      else resolve();
    });
  });
  await woken;
  await waiter.terminate();
  // "not-equal" if the release came before the wait: either way it did not sleep on.
  expect(messages[1]).toMatch(/^(ok|not-equal)$/);
  expect(isHeld(lock)).toBe(false);
});

test("a wait with a time limit fails while the lock stays held, and succeeds when it is free in time", async () => {
  const words = new Int32Array(new SharedArrayBuffer(4));
  const lock = new Lock(words, 0);
  lock.acquire();
  expect(lock.tryAcquire()).toBe(false);
  expect(lock.tryAcquire(1)).toBe(false);
  // Another thread gives it back while this one sleeps.
  const holder = new Worker(
    `const { workerData: words, parentPort } = require("node:worker_threads");
     parentPort.postMessage("here");
     while (Atomics.load(words, 0) !== 2) {}
     Atomics.store(words, 0, 0);
     Atomics.notify(words, 0, 1);`,
    { eval: true, workerData: words },
  );
  lock.release();
  lock.acquire();
  await new Promise((resolve) => holder.once("message", resolve));
  expect(lock.tryAcquire(10_000)).toBe(true);
  lock.release();
  expect(isHeld(lock)).toBe(false);
  await holder.terminate();
});
