/**
 * SRAT and SLIT: which CPUs and which memory belong to a node, and how far nodes are from each other.
 *
 * Source: ACPI 6.4, 5.2.16 (SRAT) and 5.2.17 (SLIT).
 */
import { concat, u16, u32, u64 } from "./aml.ts";
import { table } from "./table.ts";

export interface NumaNode {
  /** Local APIC ids. */
  readonly cpus: readonly number[];
  readonly memory: readonly { readonly address: number; readonly size: number }[];
}

const PROCESSOR = 0;
const MEMORY = 1;
const ENABLED = 1;

export function srat(nodes: readonly NumaNode[]): Uint8Array {
  const structures = nodes.flatMap(({ cpus, memory }, node) => [
    ...cpus.map((id) => processor(node, id)),
    ...memory.map(({ address, size }) => memoryRange(node, address, size)),
  ]);
  return table("SRAT", 3, concat([u32(1), u64(0), ...structures]));
}

/** @param distances by node: 10 to itself */
export function slit(distances: readonly (readonly number[])[]): Uint8Array {
  return table("SLIT", 1, concat([u64(distances.length), distances.flat()]));
}

/** APIC ids here are below 255. */
function processor(node: number, apicId: number): Uint8Array {
  const [low, ...high] = u32(node);
  return concat([[PROCESSOR, 16, low, apicId], u32(ENABLED), [0, ...high], u32(0)]);
}

function memoryRange(node: number, address: number, size: number): Uint8Array {
  return concat([[MEMORY, 40], u32(node), u16(0), u64(address), u64(size), u32(0), u32(ENABLED), u64(0)]);
}
