import { expect, test } from "vitest";
import { DeferredHeads, DeferredHeadsState } from "../../../../src/virtio/queue/deferred-heads.ts";
import { blank } from "../../../support/virtio-driver.ts";

test("heads come out in the order in which they were deferred, however often the ring went round", () => {
  const deferred = new DeferredHeads(blank(DeferredHeadsState));
  const expected: number[] = [];
  for (let head = 0; head < 1000; head++) {
    deferred.push(head);
    expected.push(head);
    if (head % 4 === 0) continue;
    expect(deferred.first).toBe(expected.shift());
    deferred.shift();
  }
  while (deferred.length > 0) {
    expect(deferred.first).toBe(expected.shift());
    deferred.shift();
  }
  expect(expected).toEqual([]);
});

test("as many fit as a queue has descriptors, and two views are the same list", () => {
  const state = blank(DeferredHeadsState);
  const deferred = new DeferredHeads(state);
  for (let head = 0; head < DeferredHeads.CAPACITY; head++) deferred.push(head);
  const other = new DeferredHeads(state);
  expect([other.length, other.first]).toEqual([DeferredHeads.CAPACITY, 0]);
  other.clear();
  expect(deferred.length).toBe(0);
});
