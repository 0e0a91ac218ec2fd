/**
 * KVM's own counters of a VM or a vCPU, by name.
 *
 * Source: Linux api.rst, 4.133 KVM_GET_STATS_FD: a header, an identifier,
 * descriptors, and a block of 64-bit values that the descriptors point into.
 */
import { KVM_STATS_TYPE_CUMULATIVE, kvm_stats_desc, kvm_stats_header } from "./abi.ts";

/** Reads up to `out.length` bytes of the statistics at `offset`; returns how many. */
export type StatsReader = (offset: number, out: Uint8Array) => number;

/** A counter, or for a histogram its buckets. */
export type Stats = Map<string, bigint | bigint[]>;

/** More than any kernel has; a larger number means that these are not statistics. */
const MAX_DESCRIPTORS = 4096;
const MAX_NAME = 256;
const MAX_BUCKETS = 1024;

const KVM_STATS_TYPE_MASK = 0xf;

/** The counters among them that only grow: no gauges, peaks or histograms. */
export type Counters = Record<string, number>;

/** @throws {RangeError} if the bytes are not what the API says. */
export function readStats(read: StatsReader): Stats {
  const stats: Stats = new Map();
  for (const { name, buckets, values } of descriptors(read)) {
    const data = values();
    const numbers = Array.from({ length: buckets }, (_, i) => data.getBigUint64(i * 8, true));
    stats.set(name, buckets === 1 ? numbers[0] : numbers);
  }
  return stats;
}

/** @throws {RangeError} if the bytes are not what the API says. */
export function readCounters(read: StatsReader): Counters {
  const counters: Counters = {};
  for (const { name, cumulative, buckets, values } of descriptors(read)) {
    if (cumulative && buckets === 1) counters[name] = Number(values().getBigUint64(0, true));
  }
  return counters;
}

interface Descriptor {
  readonly name: string;
  readonly cumulative: boolean;
  readonly buckets: number;
  /** Reads its values, 8 bytes each. */
  values(): DataView;
}

function descriptors(read: StatsReader): Descriptor[] {
  const header = view(exactly(read, 0, kvm_stats_header.sizeof));
  const nameSize = header.getUint32(kvm_stats_header.name_size, true);
  const count = header.getUint32(kvm_stats_header.num_desc, true);
  const start = header.getUint32(kvm_stats_header.desc_offset, true);
  const values = header.getUint32(kvm_stats_header.data_offset, true);
  if (nameSize > MAX_NAME || count > MAX_DESCRIPTORS) {
    throw new RangeError(`KVM statistics: ${count} descriptors with names of ${nameSize} bytes`);
  }
  const stride = kvm_stats_desc.sizeof + nameSize;
  const table = exactly(read, start, count * stride);
  const data = view(table);
  return Array.from({ length: count }, (_, index) => {
    const at = index * stride;
    const name = cString(table.subarray(at + kvm_stats_desc.name, at + stride));
    const buckets = data.getUint16(at + kvm_stats_desc.size, true);
    if (buckets > MAX_BUCKETS) throw new RangeError(`KVM statistics: ${name} has ${buckets} values`);
    const type = data.getUint32(at + kvm_stats_desc.flags, true) & KVM_STATS_TYPE_MASK;
    const offset = values + data.getUint32(at + kvm_stats_desc.offset, true);
    return {
      name,
      cumulative: type === KVM_STATS_TYPE_CUMULATIVE,
      buckets,
      values: () => view(exactly(read, offset, buckets * 8)),
    };
  });
}

function exactly(read: StatsReader, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const got = length === 0 ? 0 : read(offset, bytes);
  if (got !== length) throw new RangeError(`KVM statistics: ${got} of ${length} bytes at ${offset}`);
  return bytes;
}

function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
