/**
 * The console's ring and a device's lock between real threads. A Worker cannot
 * load TypeScript on Node 20, so this runs what `npm run build` made.
 */
import { Worker } from "node:worker_threads";
import { expect, onTestFinished, test } from "vitest";

const DIST = new URL("../../dist/", import.meta.url).href;

/** Runs `code` in a thread with `data`, and resolves to what it posts. */
function thread(code: string, data: unknown): Promise<unknown> {
  const preamble = `const { workerData, parentPort } = await import("node:worker_threads");`;
  const source = `(async () => { ${preamble} ${code} })()`;
  const worker = new Worker(source, { eval: true, workerData: data });
  onTestFinished(async () => void (await worker.terminate())); // it may sleep for ever
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (status) => reject(new Error(`the thread ended with ${status} and posted nothing`)));
  });
}

// No sleep below has a limit of its own: on a busy machine the other thread may not run for seconds, and a
// test may take minutes. After a wake-up that is lost nothing moves any more: that is what ends a test.

/** ms without a change in a ring after which a wake-up must have been lost. */
const STUCK_MS = 30_000;
const NO_LIMIT = 3_600_000;

/** What `threads` post, unless none of `rings` changes for STUCK_MS before. */
async function progress<T>(threads: Promise<T>, rings: readonly Int32Array[]): Promise<T> {
  let before = "";
  let since = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      const now = rings.map((words) => words.join()).join();
      if (now !== before) since = performance.now();
      else if (performance.now() - since > STUCK_MS)
        reject(new Error(`nothing moved for ${STUCK_MS} ms: ${now}`));
      before = now;
    }, 1000);
  });
  try {
    return await Promise.race([threads, stuck]);
  } finally {
    clearInterval(timer);
  }
}

/** A ring in shared memory, and behind it the word that its consumer sleeps on. */
async function sharedRing(capacity: number): Promise<Int32Array> {
  const { ByteRing } = await import(`${DIST}base/ring.js`);
  return new Int32Array(new SharedArrayBuffer((ByteRing.words(capacity) + 1) * 4));
}

/** For a thread's program: both ends of such a ring. */
const ENDS = `
  const { ByteRing } = await import("${DIST}base/ring.js");
  const ends = (words) => {
    const wake = words.length - 1;
    const ring = new ByteRing(words.subarray(0, wake));
    return {
      ring,
      put(byte) {
        while (!ring.put(byte)) ring.waitForRoom(Infinity);
        if (!ring.takeArmed()) return;
        Atomics.add(words, wake, 1);
        Atomics.notify(words, wake);
      },
      take(into) {
        for (;;) {
          const seen = Atomics.load(words, wake);
          const count = ring.take(into);
          if (count > 0) return count;
          if (ring.arm()) Atomics.wait(words, wake, seen);
        }
      },
    };
  };`;

const BYTES = 300_000;

test(
  "a ring loses, adds and swaps nothing, and neither side sleeps for ever",
  async () => {
    const words = await sharedRing(64); // small, so that both sides fall asleep thousands of times
    const producer = thread(
      `${ENDS}
    const { put } = ends(workerData);
    for (let i = 0; i < ${BYTES}; i++) put(i % 251);
    parentPort.postMessage("done");`,
      words,
    );
    const consumer = thread(
      `${ENDS}
    const { take } = ends(workerData);
    const into = new Uint8Array(48);
    let taken = 0, wrong = 0;
    while (taken < ${BYTES}) {
      const count = take(into);
      for (let i = 0; i < count; i++) if (into[i] !== taken++ % 251) wrong++;
    }
    parentPort.postMessage({ taken, wrong });`,
      words,
    );
    expect(await progress(Promise.all([producer, consumer]), [words])).toEqual([
      "done",
      { taken: BYTES, wrong: 0 },
    ]);
  },
  NO_LIMIT,
);

const ROUNDS = 60_000;

test(
  "each byte wakes a reader that sleeps: no later byte would repair a lost wake-up",
  async () => {
    const there = await sharedRing(4);
    const back = await sharedRing(4);
    const player = (begins: boolean) => `${ENDS}
    const [mine, other] = workerData.map(ends);
    const into = new Uint8Array(4);
    let wrong = 0;
    for (let i = 0; i < ${ROUNDS}; i++) {
      for (let n = (i * ${begins ? 7 : 11}) % 1500; n > 0; n--); // at another moment of the other's way to sleep each time
      ${begins ? "mine.put(i % 251);" : ""}
      if (other.take(into) !== 1 || into[0] !== i % 251) wrong++;
      ${begins ? "" : "mine.put(i % 251);"}
    }
    parentPort.postMessage({ wrong });`;
    const players = [thread(player(true), [there, back]), thread(player(false), [back, there])];
    expect(await progress(Promise.all(players), [there, back])).toEqual([{ wrong: 0 }, { wrong: 0 }]);
  },
  NO_LIMIT,
);

test(
  "room wakes a writer that sleeps: the reader takes nothing before the ring is full again",
  async () => {
    const words = await sharedRing(4);
    const producer = thread(
      `${ENDS}
    const { put } = ends(workerData);
    for (let i = 0; i < 4 + ${ROUNDS}; i++) put(0);
    parentPort.postMessage("done");`,
      words,
    );
    const consumer = thread(
      `${ENDS}
    const { ring } = ends(workerData);
    const into = new Uint8Array(1);
    for (let i = 0; i < ${ROUNDS}; i++) {
      while (ring.length < 4);
      ring.take(into);
    }
    parentPort.postMessage("done");`,
      words,
    );
    expect(await progress(Promise.all([producer, consumer]), [words])).toEqual(["done", "done"]);
  },
  NO_LIMIT,
);

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
