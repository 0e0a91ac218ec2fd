/** When the io thread looks for a request before it sleeps. */
import { expect, test } from "vitest";
import { BusyPoll } from "../../../src/threads/busy-poll.ts";

test("it looks after a few requests, not after many and not after none", () => {
  const poll = new BusyPoll();
  expect([0, 1, 4, 5, 32].map((served) => poll.worthwhile(served))).toEqual([
    false,
    true,
    true,
    false,
    false,
  ]);
});

test("looks in vain become few, and one that finds something brings them back", () => {
  const poll = new BusyPoll();
  const pause = () => {
    let sleeps = 0;
    while (!poll.worthwhile(1)) sleeps++;
    return sleeps;
  };
  const pauses = Array.from({ length: 8 }, () => {
    poll.looked(false);
    return pause();
  });
  expect(pauses).toEqual([1, 3, 7, 15, 31, 63, 63, 63]);
  poll.looked(true);
  expect(pause()).toBe(0);
  poll.looked(false);
  expect(pause()).toBe(1);
});

test("a driver has to show first that it goes on asking", () => {
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
