/** When the io thread polls before it sleeps, and for how long: a clock and a driver that the tests play. */
import { describe, expect, test } from "vitest";
import { BusyPoll, type PollLimits } from "../../../../src/threads/io/busy-poll.ts";

/** Of one iteration of a poll, in ms. */
const STEP = 0.0005;

/** A driver that sends its next request `think` ms after an answer; a wake-up takes `wake` ms. */
interface Driver {
  readonly think: number;
  readonly wake: number;
  readonly served?: number;
}

function rig(limits: Partial<PollLimits> = {}) {
  let now = 0;
  const poll = new BusyPoll(() => now, { ...{ maxNs: 2_000_000, grow: 0, shrink: 0 }, ...limits });
  /** @returns ms that were polled for each request, ms that each took, and the longest poll */
  const send = (requests: number, { think, wake, served = 1 }: Driver) => {
    const began = now;
    let [polled, longest] = [0, 0];
    for (let n = 0; n < requests; n++) {
      const offered = now + think;
      const isPolling = poll.begin(served);
      const start = now;
      if (isPolling) {
        while (now < offered && poll.goesOn) now += STEP;
        poll.end(now >= offered);
        polled += now - start;
        longest = Math.max(longest, now - start);
      }
      if (!isPolling || now < offered) {
        now = Math.max(now, offered) + wake;
        poll.woke();
      }
    }
    return { polled: polled / requests, time: (now - began) / requests, longest };
  };
  return { poll, send };
}

describe("polling that pays", () => {
  test.each([
    ["a fast host", { think: 0.01, wake: 0.02 }],
    ["one that is twenty times slower", { think: 0.2, wake: 0.4 }],
    ["a slow wake-up", { think: 0.4, wake: 0.5 }],
  ])("on %s, requests soon take no wake-up, and hardly any later", (_, driver) => {
    const { send } = rig();
    expect(send(32, driver).polled).toBe(0); // first it is measured without
    send(500, driver);
    const { time, polled } = send(20_000, driver);
    expect(time).toBeLessThan(driver.think + 0.06 * driver.wake);
    expect(polled).toBeLessThan(1.2 * driver.think);
  });

  test("a poll is not much longer than the driver needs", () => {
    const { send } = rig();
    send(200, { think: 0.05, wake: 0.1 });
    expect(send(1000, { think: 0.05, wake: 0.1 }).longest).toBeLessThan(0.06);
  });
});

describe("polling that does not pay", () => {
  test.each([
    ["the driver thinks for longer than a wake-up could save", { think: 0.5, wake: 0.05 }],
    ["requests are far apart", { think: 20, wake: 0.05 }],
    ["a wake-up takes next to no time", { think: 0.02, wake: 0.002 }],
  ])("ends when %s, and costs little when it is tried again", (_, driver) => {
    const { send } = rig();
    send(10_000, driver);
    const { polled } = send(50_000, driver);
    expect(polled).toBeLessThan(0.02 * (driver.think + driver.wake));
  });

  test("after many requests at a time, and after none", () => {
    const { poll, send } = rig();
    send(500, { think: 0.01, wake: 0.02 });
    expect(poll.ready).toBe(true);
    expect([0, 1, 4, 5, 32].map((served) => poll.begin(served))).toEqual([false, true, true, false, false]);
  });
});

test("a load that changes is measured again, in both directions", () => {
  const { send } = rig();
  const [soon, late] = [
    { think: 0.02, wake: 0.05 },
    { think: 0.5, wake: 0.05 },
  ];
  send(1000, soon);
  expect(send(100, soon).polled).toBeGreaterThan(0.01);
  send(10_000, late);
  expect(send(1000, late).polled).toBeLessThan(0.01);
  send(20_000, soon);
  expect(send(1000, soon).polled).toBeGreaterThan(0.01);
});

test("a pause of the guest now and then does not end polling that pays", () => {
  const { send } = rig();
  send(500, { think: 0.02, wake: 0.05 });
  for (let n = 0; n < 50; n++) {
    send(1, { think: 30, wake: 0.05 });
    expect(send(100, { think: 0.02, wake: 0.05 }).polled).toBeGreaterThan(0.005);
  }
});

describe("limits", () => {
  const driver = { think: 0.05, wake: 0.1 };

  test("maxNs 0: never", () => {
    expect(rig({ maxNs: 0 }).send(5000, driver).polled).toBe(0);
  });

  test("maxNs is the longest poll", () => {
    const { send } = rig({ maxNs: 200_000 });
    expect(send(5000, { think: 0.3, wake: 0.1 }).longest).toBeLessThan(0.201);
  });

  test.each([
    [2, 3],
    [10, 1],
  ])("grow %d: the length is found after %d polls in vain", (grow, tries) => {
    const { poll, send } = rig({ grow });
    send(33, driver);
    let vain = 0;
    while (send(1, driver).time > 0.1) vain++;
    expect(vain).toBe(tries);
    expect(poll.ready).toBe(true);
  });

  test("shrink 2: a longer wait halves the length", () => {
    const { poll, send } = rig({ shrink: 2 });
    send(200, driver);
    send(1, { think: 30, wake: 0.1 });
    const { longest } = send(1, driver);
    expect(longest).toBeGreaterThan(0.03);
    expect(poll.ready).toBe(true);
  });
});
