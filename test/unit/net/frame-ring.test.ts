import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { EAGAIN } from "../../../src/base/errno.ts";
import { Pieces } from "../../../src/base/pieces.ts";
import { emptyRing, FrameRing } from "../../../src/net/frame-ring.ts";
import type { GuestLink, Network } from "../../../src/net/link.ts";
import { NetworkPort } from "../../../src/net/network-port.ts";
import { RingBackend } from "../../../src/net/ring-backend.ts";
import { random } from "../../support/random.ts";
import { TestMemory } from "../../support/virtio-driver.ts";

const HEADER = new Uint8Array(12);
/** RAM offset of the first byte of test RAM. */
const FIRST = 0x3000;

test("frames of any length come out as they went in, over and over the ring's end", () => {
  const shared = emptyRing();
  const [producer, consumer] = [new FrameRing(shared), new FrameRing(shared)];
  const next = random(3);
  const expected: number[] = [];
  let fill = 0;
  let seen = 0;
  while (seen < 20_000) {
    const length = 12 + Math.floor(next() ** 4 * 65_000);
    if (next() < 0.5 && producer.reserve(length)) {
      producer.bytes.fill(fill & 0xff, producer.start, producer.start + length);
      producer.publish();
      expected.push(length, fill++ & 0xff);
    } else if (consumer.next()) {
      const { start, length: found } = consumer;
      const [wanted, value] = expected.splice(0, 2);
      if (found !== wanted) throw new Error(`${found} bytes instead of ${wanted}`);
      for (const at of [start, start + found - 1]) {
        if (consumer.bytes[at] !== value) throw new Error(`frame ${seen} is not what it was`);
      }
      consumer.release();
      seen++;
    }
  }
});

function pair(network: Partial<Network>) {
  const port = new NetworkPort(1500);
  const memory = new TestMemory();
  let wakes = 0;
  const card = new RingBackend(port.data, memory, () => void wakes++);
  const all: Network = { input() {}, room() {}, reset() {}, close() {}, ...network };
  port.connect(all);
  const send = (length: number, header = HEADER) => card.send(0, header, Pieces.of(FIRST, length));
  return { port, card, memory, send, wakes: () => wakes };
}

test("a frame of the guest reaches the network with its offload", () => {
  const frames: unknown[] = [];
  const { port, memory, send, wakes } = pair({
    input: (frame, offload) => frames.push([[...frame], { ...offload }]),
  });
  memory.bytes.set([1, 2, 3, 4], FIRST);
  const header = new Uint8Array(12);
  header.set([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0]);
  expect(send(4, header)).toBe(16);
  expect(wakes()).toBe(1);
  port.wake();
  const offload = {
    needsChecksum: 1,
    gsoType: 1,
    headerLength: 54,
    gsoSize: 1460,
    checksumStart: 34,
    checksumOffset: 16,
  };
  expect(frames).toEqual([[[1, 2, 3, 4], offload]]);
  send(4);
  expect(wakes()).toBe(2); // it was asleep again
});

test("a frame for the guest has a header; the card is woken once for all that one callback sends", async () => {
  const { port, card } = pair({});
  const into = new Uint8Array(100);
  card.accept(1);
  expect(card.receive(0, into)).toBe(EAGAIN);
  expect(port.accepts).toBe(1);
  expect(port.send(Uint8Array.of(1, 2), Uint8Array.of(3))).toBe(true);
  expect(port.send(Uint8Array.of(4), Uint8Array.of(5))).toBe(true);
  expect(card.arrivals[0].take()).toBe(0);
  await setImmediate();
  expect(card.arrivals[0].take()).toBe(1);
  expect(card.receive(0, into)).toBe(15);
  expect([...into.subarray(0, 15)]).toEqual([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
  expect(card.receive(0, into)).toBe(14);
  expect(card.receive(0, into)).toBe(EAGAIN);
});

test("back pressure: neither side's frames are lost when the ring is full", async () => {
  let room = 0;
  let got = 0;
  const link: { port?: GuestLink } = {};
  const { port, card, send } = pair({ input: () => void got++, room: () => void room++ });
  link.port = port;
  let sent = 0;
  while (send(60_000) >= 0) sent++;
  expect(sent).toBeGreaterThan(10);
  expect(card.vacancies[0].take()).toBe(0);
  port.wake();
  expect(got).toBe(sent);
  expect(card.vacancies[0].take()).toBe(1);
  expect(send(60_000)).toBeGreaterThan(0);

  const frame = new Uint8Array(60_000);
  while (port.send(frame)) sent++;
  const into = new Uint8Array(70_000);
  while (card.receive(0, into) >= 0);
  port.wake();
  expect(room).toBe(1);
  await setImmediate();
});

test("a long row of frames leaves the event loop its turns", async () => {
  let got = 0;
  const { port, send } = pair({ input: () => void got++ });
  for (let n = 0; n < 300; n++) send(60);
  port.wake();
  expect(got).toBe(128);
  await setImmediate();
  await setImmediate();
  expect(got).toBe(300);
});
