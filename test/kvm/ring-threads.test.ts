/**
 * The console's ring and a device's lock between real threads. A Worker cannot
 * load TypeScript on Node 20, so this runs what `npm run build` made.
 */
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";

const DIST = new URL("../../dist/", import.meta.url).href;

/** Runs `code` in a thread with `data`, and gives what it posts. */
function thread(code: string, data: unknown): Promise<unknown> {
  const preamble = `const { workerData, parentPort } = await import("node:worker_threads");`;
  const source = `(async () => { ${preamble} ${code} })()`;
  const worker = new Worker(source, { eval: true, workerData: data });
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (status) => reject(new Error(`the thread ended with ${status} and said nothing`)));
  });
}

const BYTES = 300_000;

test("a ring loses, adds and swaps nothing, and neither side sleeps for ever", async () => {
  const { ByteRing } = await import(`${DIST}base/ring.js`);
  // Small, so that both sides fall asleep thousands of times; the last word is what the consumer sleeps on.
  const words = new Int32Array(new SharedArrayBuffer((ByteRing.words(64) + 1) * 4));
  const use = `
    const { ByteRing } = await import("${DIST}base/ring.js");
    const wake = workerData.length - 1;
    const ring = new ByteRing(workerData.subarray(0, wake));
    let overslept = 0;`;
  const producer = thread(
    `${use}
    for (let i = 0; i < ${BYTES}; i++) {
      while (!ring.put(i % 251)) if (!ring.waitForRoom(2000)) overslept++;
      if (ring.takeArmed()) {
        Atomics.add(workerData, wake, 1);
        Atomics.notify(workerData, wake);
      }
    }
    parentPort.postMessage({ overslept });`,
    words,
  );
  const consumer = thread(
    `${use}
    const into = new Uint8Array(48);
    let taken = 0, wrong = 0;
    while (taken < ${BYTES}) {
      const count = ring.take(into);
      for (let i = 0; i < count; i++) if (into[i] !== taken++ % 251) wrong++;
      if (count > 0) continue;
      const seen = Atomics.load(workerData, wake);
      if (ring.arm() && Atomics.wait(workerData, wake, seen, 2000) === "timed-out") overslept++;
    }
    parentPort.postMessage({ taken, wrong, overslept });`,
    words,
  );
  expect(await producer).toEqual({ overslept: 0 });
  expect(await consumer).toEqual({ taken: BYTES, wrong: 0, overslept: 0 });
});

test("three threads that change one register through a guarded device lose no change", async () => {
  const words = new Int32Array(new SharedArrayBuffer(8)); // the lock, the register
  const code = `
    const { Lock } = await import("${DIST}base/lock.js");
    const { Guarded } = await import("${DIST}bus/guarded.js");
    const device = { read: () => workerData[1], write: () => { workerData[1] = workerData[1] + 1; }, reset() {} };
    const guarded = new Guarded(device, new Lock(workerData, 0));
    for (let i = 0; i < 50_000; i++) guarded.write(0, 4, 0);
    parentPort.postMessage("done");`;
  await Promise.all([thread(code, words), thread(code, words), thread(code, words)]);
  expect([...words]).toEqual([0, 150_000]);
});
