import { expect, test } from "vitest";
import { NEVER } from "../../../../src/bus/io-task.ts";
import { VirtioRng } from "../../../../src/virtio/rng.ts";
import { AcknowledgementCollector } from "../../../../src/virtio/transport/acknowledgement-collector.ts";
import { isHeld } from "../../../support/locks.ts";
import { Plugged, TestMemory } from "../../../support/virtio-driver.ts";

/** A device, and whether its driver has acknowledged. */
function rig() {
  const driver = { acknowledges: false, asked: 0 };
  const take = () => {
    driver.asked++;
    return driver.acknowledges;
  };
  const plugged = new Plugged(new VirtioRng(), new TestMemory(), { acknowledged: { take } });
  plugged.bringUp(8);
  return { driver, plugged, collector: new AcknowledgementCollector(plugged.transport, plugged.lock) };
}

test("the io thread sleeps for ever while no interrupt waits for its acknowledgement", () => {
  const { driver, plugged, collector } = rig();
  expect(collector.beforeSleep()).toBe(NEVER);
  plugged.transport.usedBuffers(0);
  expect(collector.beforeSleep()).toBe(10);
  driver.acknowledges = true;
  collector.collectWhenIdle();
  expect(collector.beforeSleep()).toBe(NEVER);
  expect(isHeld(plugged.lock)).toBe(false);
});

test("the event is read ever less often for a driver that does not acknowledge, until something rings", () => {
  const { plugged, collector } = rig();
  plugged.transport.usedBuffers(0);
  const waits = Array.from({ length: 9 }, () => {
    const waitMs = collector.beforeSleep();
    collector.collectWhenIdle();
    return waitMs;
  });
  expect(waits).toEqual([10, 20, 40, 80, 160, 320, 640, 640, 640]);
  collector.beforeSleep();
  expect(collector.beforeSleep()).toBe(10); // the last sleep was cut short
});

test("a busy io thread reads the event once in a while, and a device without an interrupt costs it nothing", () => {
  const { driver, plugged, collector } = rig();
  for (let sleep = 0; sleep < 1000; sleep++) collector.beforeSleep();
  expect(driver.asked).toBe(0);
  plugged.transport.usedBuffers(0);
  driver.asked = 0;
  driver.acknowledges = true;
  for (let sleep = 0; sleep < 64; sleep++) collector.beforeSleep();
  expect(driver.asked).toBe(1);
  expect(collector.beforeSleep()).toBe(NEVER);
});
