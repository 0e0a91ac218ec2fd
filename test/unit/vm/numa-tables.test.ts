import { expect, test } from "vitest";
import { numaTables } from "../../../src/vm/numa-tables.ts";
import { checkOptions } from "../../../src/vm/validate.ts";

const GIB = 2 ** 30;
const tables = (more: object) => numaTables(checkOptions({ kernel: "K", ...more }));

interface Affinity {
  readonly cpus: [node: number, apicId: number][];
  readonly memory: [node: number, address: number, size: number][];
}

/** Reads what an operating system reads. */
function affinity(srat: Uint8Array): Affinity {
  const view = new DataView(srat.buffer, srat.byteOffset, srat.byteLength);
  const found: Affinity = { cpus: [], memory: [] };
  for (let at = 48; at < srat.length; at += srat[at + 1]) {
    if (srat[at] === 0)
      found.cpus.push([srat[at + 2] | (view.getUint32(at + 8, true) & 0xffffff00), srat[at + 3]]);
    else {
      const wide = (offset: number) => Number(view.getBigUint64(at + offset, true));
      found.memory.push([view.getUint32(at + 2, true), wide(8), wide(16)]);
    }
  }
  return found;
}

test("without more, sockets and memory are divided among the nodes", () => {
  const [srat, slit] = tables({ cpus: 4, topology: { sockets: 2 }, memory: "256M", numa: [{}, {}] });
  expect(affinity(srat)).toEqual({
    cpus: [
      [0, 0],
      [0, 1],
      [1, 2],
      [1, 3],
    ],
    memory: [
      [0, 0, 128 * 2 ** 20],
      [1, 128 * 2 ** 20, 128 * 2 ** 20],
    ],
  });
  expect([...slit.subarray(44)]).toEqual([10, 20, 20, 10]);
});

test("a node's memory goes around the hole below 4 GiB, and CPUs go by APIC id", () => {
  const [srat] = tables({
    cpus: 6,
    topology: { sockets: 2, cores: 3 },
    memory: 5 * GIB,
    numa: [
      { cpus: [0, 1, 2], memory: 4 * GIB },
      { cpus: [3, 4, 5], memory: GIB },
    ],
  });
  expect(affinity(srat)).toEqual({
    cpus: [
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 4],
      [1, 5],
      [1, 6],
    ],
    memory: [
      [0, 0, 3 * GIB],
      [0, 4 * GIB, GIB],
      [1, 5 * GIB, GIB],
    ],
  });
});

test("distances are those that are given", () => {
  const [, slit] = tables({ cpus: 2, numa: [{ distances: [10, 31] }, { distances: [32, 10] }] });
  expect([...slit.subarray(36)]).toEqual([2, 0, 0, 0, 0, 0, 0, 0, 10, 31, 32, 10]);
});

test("a table's bytes add up to zero", () => {
  for (const bytes of tables({ cpus: 2, numa: [{}, {}] })) {
    expect(bytes.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
  }
});

test.each([
  [{ numa: [{ cpus: [1] }] }, "numa[0].cpus: there is no CPU 1; the last one is 0"],
  [{ cpus: 2, numa: [{ cpus: [0, 1] }, { cpus: [1] }] }, "numa[1].cpus: CPU 1 is in node 0 already"],
  [
    { memory: "128M", numa: [{ memory: "64M" }, { memory: "32M" }] },
    "numa: total memory for NUMA nodes (0x6000000) should equal RAM size (0x8000000)",
  ],
  [{ numa: [{ distances: [10] }, {}] }, "numa[0].distances: give one for each of the 2 nodes"],
  [{ numa: [{ distances: [11] }] }, "numa[0].distances: the distance of a node to itself is 10"],
])("%o: %s", (options, sentence) => {
  expect(() => tables(options)).toThrow(sentence);
});
