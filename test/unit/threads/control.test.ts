/** One thread's view; test/kvm/control-threads.test.ts has two. */
import { expect, test } from "vitest";
import { CONTROL_WORDS, Control, END, PARK, RUN } from "../../../src/threads/control.ts";

function control() {
  const words = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
  return { owner: new Control(words), thread: new Control(words) };
}

test("a new thread is parked until a request to run", () => {
  const { owner, thread } = control();
  expect(owner.parked).toBe(true);
  expect(thread.running).toBe(false);
  owner.request(RUN);
  expect(thread.sleepWhileParked()).toBe(true);
  expect(thread.running).toBe(true);
  expect(owner.parked).toBe(false);
});

test("a thread counts as parked only when it says so, and not when it was asked", () => {
  const { owner, thread } = control();
  owner.request(RUN);
  thread.sleepWhileParked();
  owner.request(PARK);
  expect(thread.requested).toBe(PARK);
  expect(owner.parked).toBe(false);
  thread.park();
  expect(owner.parked).toBe(true);
});

test("asked to park and to run again before it looked, a thread just runs on", () => {
  const { owner, thread } = control();
  owner.request(RUN);
  thread.sleepWhileParked();
  owner.request(PARK);
  owner.request(RUN);
  expect(thread.running).toBe(true);
  thread.park();
  expect(thread.sleepWhileParked()).toBe(true);
});

test.each([RUN, PARK])("an end is final: %i after it changes nothing", (what) => {
  const { owner, thread } = control();
  owner.request(END);
  owner.request(what);
  expect(thread.requested).toBe(END);
  expect(thread.sleepWhileParked()).toBe(false);
});

test("a thread that parks itself is asked again before it runs", () => {
  const { owner, thread } = control();
  owner.request(RUN);
  thread.sleepWhileParked();
  thread.request(PARK); // the guest switched itself off
  thread.park();
  expect(owner.parked).toBe(true);
  owner.request(END);
  expect(thread.sleepWhileParked()).toBe(false);
});

test("waiting for the io thread ends at once if it has settled already, or is ending", () => {
  const { owner, thread } = control();
  let looks = 0;
  thread.waitSettled(() => ++looks > 0);
  expect(looks).toBe(1);
  owner.request(END);
  thread.waitSettled(() => false);
});

test("waiting for the io thread looks again although nobody says anything", () => {
  let looks = 0;
  control().thread.waitSettled(() => ++looks === 3);
  expect(looks).toBe(3);
});
