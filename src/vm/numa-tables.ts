/** Checks the option `numa`, completes it, and makes its tables: every CPU is in a node, and every byte. */
import { OptionError } from "../base/errors.ts";
import { hex } from "../base/hex.ts";
import { PAGE } from "../base/units.ts";
import { slit, srat } from "../boot/acpi/numa.ts";
import { ramRegions } from "../machine/memory-map.ts";
import { placeOf } from "../machine/topology.ts";
import type { RamRegion } from "../memory/guest-memory.ts";
import type { CheckedOptions } from "./validate.ts";

const LOCAL = 10;
const REMOTE = 20;

type Nodes = CheckedOptions["numa"];

interface Range {
  address: number;
  size: number;
}

/** SRAT and SLIT. @throws {OptionError} for nodes that do not fit the machine */
export function numaTables(options: CheckedOptions): Uint8Array[] {
  const { numa, memory, topology } = options;
  const members = cpusOf(options);
  const ranges = memoryOfNodes(memories(numa, memory), ramRegions(memory));
  const nodes = numa.map((_, node) => ({
    cpus: members[node].map((index) => placeOf(topology, index).apicId),
    memory: ranges[node],
  }));
  return [srat(nodes), slit(distances(numa))];
}

function distances(numa: Nodes): number[][] {
  return numa.map(({ distances: given }, from) => {
    if (given !== undefined && given.length !== numa.length) {
      throw new OptionError(`numa[${from}].distances: give one for each of the ${numa.length} nodes`);
    }
    if ((given?.[from] ?? LOCAL) !== LOCAL) {
      throw new OptionError(`numa[${from}].distances: the distance of a node to itself is ${LOCAL}`);
    }
    return numa.map((_, to) => given?.[to] ?? (from === to ? LOCAL : REMOTE));
  });
}

/** The parts of `ram` that each node has: the first node the lowest addresses. */
function memoryOfNodes(sizes: readonly number[], ram: readonly RamRegion[]): Range[][] {
  const rest = ram.map(({ address, size }) => ({ address, size }));
  return sizes.map((memory) => {
    const ranges: Range[] = [];
    for (let wanted = memory; wanted > 0 && rest.length > 0; ) {
      const [region] = rest;
      const size = Math.min(wanted, region.size);
      ranges.push({ address: region.address, size });
      wanted -= size;
      region.address += size;
      region.size -= size;
      if (region.size === 0) rest.shift();
    }
    return ranges;
  });
}

function memories(numa: Nodes, total: number): number[] {
  const given = numa.map(({ memory }) => memory);
  if (given.every((size) => size === undefined)) {
    const each = Math.floor(total / numa.length / PAGE) * PAGE;
    return given.map((_, node) => (node < numa.length - 1 ? each : total - each * (numa.length - 1)));
  }
  const sizes = given.map((size) => size ?? 0);
  const sum = sizes.reduce((all, size) => all + size, 0);
  if (sum !== total) {
    throw new OptionError(
      `numa: total memory for NUMA nodes (${hex(sum)}) should equal RAM size (${hex(total)})`,
    );
  }
  return sizes;
}

/** CPUs that no node names are in node 0; if none is named, a socket is in a node. */
function cpusOf({ numa, cpus: count, topology }: CheckedOptions): number[][] {
  const nodeOf = new Map<number, number>();
  numa.forEach(({ cpus = [] }, node) => {
    for (const cpu of cpus) {
      if (cpu >= count)
        throw new OptionError(`numa[${node}].cpus: there is no CPU ${cpu}; the last one is ${count - 1}`);
      const other = nodeOf.get(cpu);
      if (other !== undefined)
        throw new OptionError(`numa[${node}].cpus: CPU ${cpu} is in node ${other} already`);
      nodeOf.set(cpu, node);
    }
  });
  const usual = (cpu: number) => (nodeOf.size === 0 ? placeOf(topology, cpu).socket % numa.length : 0);
  const members: number[][] = numa.map(() => []);
  for (let cpu = 0; cpu < count; cpu++) members[nodeOf.get(cpu) ?? usual(cpu)].push(cpu);
  return members;
}
