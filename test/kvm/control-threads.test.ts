/**
 * How a thread runs, parks and ends on request, between real threads. A Worker
 * cannot load TypeScript on Node 20, so this runs what `npm run build` made.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { patience } from "../../lab/patience.mjs";

const DIST = new URL("../../dist/", import.meta.url).href;

/** A thread that runs `code` with `data`; `done` is when it ends by itself, and rejects if it fails. */
function thread(code: string, data: unknown) {
  const preamble = `
    const { workerData, parentPort } = await import("node:worker_threads");
    const { Control, CONTROL_WORDS, PARK, RUN, END } = await import("${DIST}threads/control.js");`;
  const worker = new Worker(`(async () => { ${preamble} ${code} })()`, { eval: true, workerData: data });
  return { worker, done: once(worker, "exit") };
}

const control = () => import(`${DIST}threads/control.js`);

test("a parked thread does not run, a running one continues, an ended one is gone", async () => {
  const { Control, CONTROL_WORDS, PARK, RUN, END } = await control();
  const words = new Int32Array(new SharedArrayBuffer((CONTROL_WORDS + 1) * 4));
  const owner = new Control(words.subarray(0, CONTROL_WORDS));
  const steps = () => Atomics.load(words, CONTROL_WORDS);
  const { done } = thread(
    `const control = new Control(workerData.subarray(0, CONTROL_WORDS));
    while (control.sleepWhileParked()) {
      while (control.requested === RUN) Atomics.add(workerData, CONTROL_WORDS, 1);
      control.park();
    }`,
    words,
  );
  const moves = async () => {
    const before = steps();
    await expect.poll(steps, { timeout: patience(10_000), interval: 1 }).not.toBe(before);
  };
  for (let turn = 0; turn < 300; turn++) {
    owner.request(RUN);
    if (turn % 20 === 0) await moves();
    owner.request(PARK);
    // Spinning, so that every moment of the handshake is met; the thread has a core of its own or gets this one's.
    for (const start = Date.now(); !owner.parked; ) expect(Date.now() - start).toBeLessThan(10_000);
    const seen = steps();
    if (turn % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    expect(steps()).toBe(seen);
  }
  owner.request(RUN);
  await moves();
  owner.request(END);
  expect(await done).toEqual([0]);
});

test("a thread that never ran ends on request", async () => {
  const { Control, CONTROL_WORDS, END } = await control();
  const words = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
  const { worker, done } = thread(
    `const control = new Control(workerData);
    parentPort.postMessage("asleep");
    if (control.sleepWhileParked()) throw new Error("it ran");`,
    words,
  );
  await once(worker, "message");
  new Control(words).request(END);
  expect(await done).toEqual([0]);
});

test("an end stands, although the thread parks itself at the same moment", async () => {
  const { Control, CONTROL_WORDS, RUN, END } = await control();
  const ROUNDS = 50_000;
  const words = new Int32Array(new SharedArrayBuffer((CONTROL_WORDS * ROUNDS + 2) * 4));
  const [mine, theirs] = [words.length - 1, words.length - 2]; // the round each side has reached
  const at = (round: number) => words.subarray(round * CONTROL_WORDS, (round + 1) * CONTROL_WORDS);
  for (let round = 0; round < ROUNDS; round++) new Control(at(round)).request(RUN);
  const { done } = thread(
    `const [owner, mine] = [workerData.length - 1, workerData.length - 2];
    for (let round = 0; round < ${ROUNDS}; round++) {
      const control = new Control(workerData.subarray(round * CONTROL_WORDS, (round + 1) * CONTROL_WORDS));
      Atomics.store(workerData, mine, round + 1);
      while (Atomics.load(workerData, owner) <= round);
      control.request(PARK);
    }`,
    words,
  );
  const controls = Array.from({ length: ROUNDS }, (_, round) => new Control(at(round)));
  for (let round = 0; round < ROUNDS; round++) {
    while (Atomics.load(words, theirs) <= round);
    Atomics.store(words, mine, round + 1);
    controls[round].request(END);
  }
  expect(await done).toEqual([0]);
  expect(controls.filter((each) => each.requested !== END).length).toBe(0);
});

test("a vCPU waits until the io thread has settled, and no longer than the machine lives", async () => {
  const { Control, CONTROL_WORDS, RUN, END } = await control();
  const words = new Int32Array(new SharedArrayBuffer((CONTROL_WORDS + 1) * 4));
  const owner = new Control(words.subarray(0, CONTROL_WORDS));
  owner.request(RUN);
  const waiter = `
    const control = new Control(workerData.subarray(0, CONTROL_WORDS));
    parentPort.postMessage("waiting");
    control.waitSettled(() => Atomics.load(workerData, CONTROL_WORDS) === 1);`;
  const settled = thread(waiter, words);
  await once(settled.worker, "message");
  Atomics.store(words, CONTROL_WORDS, 1);
  owner.announceSettled();
  expect(await settled.done).toEqual([0]);

  Atomics.store(words, CONTROL_WORDS, 0);
  const abandoned = thread(waiter, words);
  await once(abandoned.worker, "message");
  owner.request(END);
  expect(await abandoned.done).toEqual([0]);
});

test("a vCPU asks the program's device and sleeps until the answer, which may take its time", async () => {
  const { Mailbox, MAILBOX_BYTES } = await import(`${DIST}threads/mailbox.js`);
  const buffer = new SharedArrayBuffer(MAILBOX_BYTES);
  const mailbox = new Mailbox(buffer, 0);
  const { worker, done } = thread(
    `const { Mailbox, OwnDevice } = await import("${DIST}threads/mailbox.js");
    const device = new OwnDevice(new Mailbox(workerData, 0), 3, () => parentPort.postMessage("asked"));
    device.write(8, 4, 0xdeadbeef);
    parentPort.postMessage([device.read(0, 1), device.read(2, 2), device.read(4, 4), device.read(0, 4)]);`,
    buffer,
  );
  const asked: unknown[] = [];
  let answers: unknown;
  worker.on("message", (message) => {
    if (message !== "asked") {
      answers = message;
      return;
    }
    asked.push(mailbox.question);
    // The last one is never answered: the machine ends.
    setTimeout(() => (asked.length < 5 ? mailbox.answer(0x1_2345_6789 - 1) : mailbox.close()), 2);
  });
  expect(await done).toEqual([0]);
  expect(asked).toEqual([
    { device: 3, isWrite: true, offset: 8, size: 4, value: 0xdeadbeef },
    { device: 3, isWrite: false, offset: 0, size: 1, value: 0 },
    { device: 3, isWrite: false, offset: 2, size: 2, value: 0 },
    { device: 3, isWrite: false, offset: 4, size: 4, value: 0 },
    { device: 3, isWrite: false, offset: 0, size: 4, value: 0 },
  ]);
  expect(answers).toEqual([0x88, 0x6788, 0x2345_6788, 0xffff_ffff]);
});
