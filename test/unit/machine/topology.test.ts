import { expect, test } from "vitest";
import { placeOf, singleSocket } from "../../../src/machine/topology.ts";

const ids = (topology: Parameters<typeof placeOf>[0], count: number) =>
  Array.from({ length: count }, (_, index) => placeOf(topology, index).apicId);

test("the cores of one socket have their index as APIC id", () => {
  expect(ids(singleSocket(5), 5)).toEqual([0, 1, 2, 3, 4]);
});

test("each level has whole bits of an APIC id, so three cores leave a gap", () => {
  expect(ids({ sockets: 2, dies: 1, cores: 3, threads: 1 }, 6)).toEqual([0, 1, 2, 4, 5, 6]);
  expect(ids({ sockets: 1, dies: 2, cores: 3, threads: 2 }, 12)).toEqual([
    0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13,
  ]);
});

test("threads are counted before cores, cores before dies, dies before sockets", () => {
  const topology = { sockets: 2, dies: 2, cores: 2, threads: 2 };
  expect(placeOf(topology, 13)).toEqual({ apicId: 13, socket: 1, die: 1, core: 0, thread: 1 });
});
