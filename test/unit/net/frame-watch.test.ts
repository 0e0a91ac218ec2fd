/** Frames of a card, as those see them who watch: captures and traces. */
import { expect, test } from "vitest";
import { EAGAIN } from "../../../src/base/errno.ts";
import { Pieces } from "../../../src/base/pieces.ts";
import { describeFrame } from "../../../src/net/describe-frame.ts";
import { FrameWatch } from "../../../src/net/frame-watch.ts";
import { WatchBackend } from "../../../src/net/watch-backend.ts";
import { FrameFuzz } from "../../support/frame-fuzz.ts";
import { FakeBackend, frameTo } from "../../support/net-rig.ts";
import { TestMemory } from "../../support/virtio-driver.ts";

/** RAM offset of the first byte of test RAM. */
const FIRST = 0x3000;
const HEADER = 12;

function rig() {
  const memory = new TestMemory();
  const bare = new FakeBackend(memory);
  const watch = new FrameWatch();
  let wakes = 0;
  const card = new WatchBackend(bare, memory, watch.data, () => {
    wakes++;
  });
  const seen: [boolean, number[]][] = [];
  const start = () => watch.watch(({ isInbound, bytes }) => seen.push([isInbound, [...bytes]]));
  return { memory, bare, watch, card, seen, start, wakes: () => wakes };
}

test("a watcher sees the frames of both directions in their order, and no others", () => {
  const { memory, bare, watch, card, seen, start, wakes } = rig();
  memory.bytes.set([1, 2, 3, 4, 5], FIRST);
  card.send(0, new Uint8Array(HEADER), Pieces.of(FIRST, 5)); // before anybody watches
  const stop = start();
  card.send(0, new Uint8Array(HEADER), Pieces.of(FIRST, 2, FIRST + 2, 3));
  bare.incoming.push(frameTo([1, 2, 3, 4, 5, 6], 20));
  const into = new Uint8Array(100);
  card.receive(0, into);
  card.receive(0, into); // nothing there
  bare.isFull = true;
  expect(card.send(0, new Uint8Array(HEADER), Pieces.of(FIRST, 5))).toBe(EAGAIN); // it will come again
  expect(wakes()).toBe(1);
  watch.wake();
  expect(seen).toEqual([
    [false, [1, 2, 3, 4, 5]],
    [true, [...into.subarray(HEADER, HEADER + 20)]],
  ]);
  bare.isFull = false;
  // A card that has copied the frame has all of it behind the header.
  card.send(0, Uint8Array.of(...new Uint8Array(HEADER), 7, 8), Pieces.of(FIRST, 0));
  stop();
  expect(seen.at(-1)).toEqual([false, [7, 8]]);
  card.send(0, new Uint8Array(HEADER), Pieces.of(FIRST, 5));
  watch.wake();
  expect(seen.length).toBe(3);
});

test("a program that is too slow loses frames, which are counted; the guest does not wait", () => {
  const { card, watch } = rig();
  let seen = 0;
  const stop = watch.watch(() => {
    seen++;
  });
  const long = new Uint8Array(HEADER + 60_000);
  for (let n = 0; n < 100; n++) expect(card.send(0, long, Pieces.of(FIRST, 0))).toBeGreaterThanOrEqual(0);
  expect(watch.lost).toBeGreaterThan(20);
  stop();
  expect(seen + watch.lost).toBe(100);
});

const ETHERNET = [0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
const IPV4 = [0x45, 0, 0, 48, 0, 0, 0, 0, 64];
const PLACES = [0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
const PORTS = [0x9c, 0x40, 0, 80];

test.each([
  [
    "ARP who has 10.0.2.2? 10.0.2.15 asks",
    [8, 6, 0, 1, 8, 0, 6, 4, 0, 1, ...ETHERNET.slice(6), 10, 0, 2, 15],
    [10, 0, 2, 2],
  ],
  [
    "IP 10.0.2.15.40000 > 10.0.2.2.80 TCP [S] seq 7 win 512 length 8",
    [8, 0, ...IPV4, 6, ...PLACES, ...PORTS, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2, 2, 0],
    [],
  ],
  [
    "IP 10.0.2.15.40000 > 10.0.2.2.80 UDP length 20",
    [8, 0, ...IPV4, 17, ...PLACES, ...PORTS, 0, 28, 0, 0],
    [],
  ],
  ["IP 10.0.2.15 > 10.0.2.2 ICMP echo request", [8, 0, ...IPV4, 1, ...PLACES, 8, 0], []],
  ["52:54:00:12:34:56 > 52:55:0a:00:02:02 type 0x88cc", [0x88, 0xcc], []],
])("a frame in one line: %s", (line, bytes, end) => {
  const frame = new Uint8Array(62);
  frame.set([...ETHERNET, ...bytes]);
  frame.set(end, 38);
  expect(describeFrame(frame)).toBe(line);
});

test("any bytes have a line of bounded length", () => {
  const fuzz = new FrameFuzz(7);
  let heard: Uint8Array | undefined;
  const wrong: string[] = [];
  for (let n = 0; n < 20_000; n++) {
    const frame = fuzz.frame(heard);
    heard = frame;
    const text = describeFrame(frame);
    if (text.length > 700 || /NaN|undefined/.test(text)) wrong.push(text);
  }
  expect(wrong).toEqual([]);
});
