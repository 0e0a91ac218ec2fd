/** When the io thread polls before it sleeps. */
import { expect, test } from "vitest";
import { BusyPoll } from "../../../../src/threads/io/busy-poll.ts";

test("it polls after a few requests, not after many and not after none", () => {
  const poll = new BusyPoll(0);
  expect([0, 1, 4, 5, 32].map((served) => poll.worthwhile(served))).toEqual([
    false,
    true,
    true,
    false,
    false,
  ]);
});

test("polling in vain gets rare, and a find brings it back", () => {
  const poll = new BusyPoll(0);
  const pause = () => {
    let sleeps = 0;
    while (!poll.worthwhile(1)) sleeps++;
    return sleeps;
  };
  const pauses = Array.from({ length: 8 }, () => {
    poll.polled(false);
    return pause();
  });
  expect(pauses).toEqual([1, 3, 7, 15, 31, 63, 63, 63]);
  poll.polled(true);
  expect(pause()).toBe(0);
  poll.polled(false);
  expect(pause()).toBe(1);
});

test("a driver has to show first that it keeps sending requests", () => {
  const poll = new BusyPoll(3);
  expect([1, 0, 9, 1, 1, 1].map((served) => poll.worthwhile(served))).toEqual([
    false,
    false,
    false,
    false,
    false,
    true,
  ]);
});
