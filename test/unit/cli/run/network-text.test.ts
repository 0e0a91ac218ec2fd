/** `-trace net`, as it is printed. */
import { expect, test } from "vitest";
import { printNetwork } from "../../../../src/cli/run/network-text.ts";
import type { TraceRecord } from "../../../../src/trace/format.ts";

test("a line for each frame and each decision; frames that were lost are counted at the end", async () => {
  const card = "virtio-net0";
  const records: TraceRecord[] = [
    {
      kind: "frame",
      t: 1_500_000,
      card,
      direction: "out",
      length: 42,
      text: "ARP who has 10.0.2.2? 10.0.2.15 asks",
    },
    {
      kind: "frame",
      t: 2_000_000,
      card,
      direction: "in",
      length: 60,
      text: "ARP 10.0.2.2 is at 52:55:0a:00:02:02",
    },
    {
      kind: "connection",
      t: 3e9,
      card,
      protocol: "tcp",
      target: "news.example:22",
      verdict: "denied",
      detail: "onConnect",
    },
    { kind: "connection", t: 4e9, card, protocol: "dns", target: "news.example A", verdict: "forwarded" },
    { kind: "end", t: 5e9, exits: 0, dropped: 0, lostFrames: 7 },
  ];
  async function* source() {
    yield* records;
  }
  const lines: string[] = [];
  const iterable = source();
  await printNetwork({ stop() {}, [Symbol.asyncIterator]: () => iterable }, (text) => lines.push(text));
  expect(lines).toEqual([
    "net 0.001500 virtio-net0 < ARP who has 10.0.2.2? 10.0.2.15 asks (42 bytes)\n",
    "net 0.002000 virtio-net0 > ARP 10.0.2.2 is at 52:55:0a:00:02:02 (60 bytes)\n",
    "net 3.000000 virtio-net0 * tcp news.example:22: denied (onConnect)\n",
    "net 4.000000 virtio-net0 * dns news.example A: forwarded\n",
    "vmexit: 7 more frames were not printed: they came too fast\n",
  ]);
});
