import { expect, test } from "vitest";
import { Acknowledgements } from "../../../src/threads/acknowledgements.ts";
import { VirtioRng } from "../../../src/virtio/rng.ts";
import { Plugged, TestMemory } from "../../support/virtio-driver.ts";

/** A device, and whether its driver has acknowledged. */
function rig() {
  const driver = { acknowledges: false, asked: 0 };
  const take = () => {
    driver.asked++;
    return driver.acknowledges;
  };
  const plugged = new Plugged(new VirtioRng(), new TestMemory(), { acknowledged: { take } });
  plugged.bringUp(8);
  return { driver, plugged, acknowledgements: new Acknowledgements([plugged]) };
}

test("the io thread sleeps for ever while no interrupt waits for its acknowledgement", () => {
  const { driver, plugged, acknowledgements } = rig();
  expect(acknowledgements.sleepMs(-1)).toBe(-1);
  plugged.transport.usedBuffers(0);
  expect([-1, 0, 3, 11].map((most) => acknowledgements.sleepMs(most))).toEqual([10, 0, 3, 10]);
  driver.acknowledges = true;
  acknowledgements.afterSleep(true);
  expect([-1, 0, 3, 11].map((most) => acknowledgements.sleepMs(most))).toEqual([-1, 0, 3, 11]);
  expect(plugged.lock.held).toBe(false);
});

test("it looks ever less often for a driver that does not acknowledge, until something rings", () => {
  const { plugged, acknowledgements } = rig();
  plugged.transport.usedBuffers(0);
  const waits = Array.from({ length: 9 }, () => {
    const sleepMs = acknowledgements.sleepMs(-1);
    acknowledgements.afterSleep(true);
    return sleepMs;
  });
  expect(waits).toEqual([10, 20, 40, 80, 160, 320, 640, 640, 640]);
  acknowledgements.afterSleep(false);
  expect(acknowledgements.sleepMs(-1)).toBe(10);
});

test("a busy io thread looks once in a while, and a device without an interrupt costs it nothing", () => {
  const { driver, plugged, acknowledgements } = rig();
  for (let wake = 0; wake < 1000; wake++) acknowledgements.afterSleep(false);
  expect(driver.asked).toBe(0);
  plugged.transport.usedBuffers(0);
  driver.asked = 0;
  driver.acknowledges = true;
  for (let wake = 0; wake < 64; wake++) acknowledgements.afterSleep(false);
  expect(driver.asked).toBe(1);
  expect(acknowledgements.sleepMs(-1)).toBe(-1);
});
