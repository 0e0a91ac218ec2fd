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
const MAX_BYTES = 2 ** 20;

const KVM_STATS_TYPE_MASK = 0xf;

/** The counters among them that only grow: no gauges, peaks or histograms. */
export type Counters = Record<string, number>;

/** @throws {RangeError} if the bytes are not what the API says. */
export function readStats(read: StatsReader, owner?: StatsOwner): Stats {
  const layout = layoutOf(read, owner);
  const values = valuesOf(read, layout);
  const stats: Stats = new Map();
  for (const { name, buckets, at } of layout.descriptors) {
    const numbers = Array.from({ length: buckets }, (_, i) => values.getBigUint64(at + i * 8, true));
    stats.set(name, buckets === 1 ? numbers[0] : numbers);
  }
  return stats;
}

/** @throws {RangeError} if the bytes are not what the API says. */
export function readCounters(read: StatsReader, owner?: StatsOwner): Counters {
  const layout = layoutOf(read, owner);
  const values = valuesOf(read, layout);
  const counters: Counters = {};
  for (const { name, isCumulative, buckets, at } of layout.descriptors) {
    if (isCumulative && buckets === 1) counters[name] = Number(values.getBigUint64(at, true));
  }
  return counters;
}

/** Makes sure that they can be read later, too: those of a vCPU cannot be opened once it runs. */
export function openStats(read: StatsReader): void {
  exactly(read, 0, kvm_stats_header.sizeof);
}

interface Descriptor {
  readonly name: string;
  readonly isCumulative: boolean;
  readonly buckets: number;
  /** Where its values are among all, 8 bytes each. */
  readonly at: number;
}

interface Layout {
  readonly header: Uint8Array;
  readonly descriptors: readonly Descriptor[];
  /** Where the values begin, and how many bytes they are. */
  readonly start: number;
  readonly length: number;
}

/** Whose they are: all VMs of a host have the same counters, and so have all vCPUs. */
export type StatsOwner = "vm" | "vcpu";

/** Read once for each kind of owner: the names are most of the bytes. */
const layouts = new Map<StatsOwner, Layout>();

function layoutOf(read: StatsReader, owner: StatsOwner | undefined): Layout {
  const header = exactly(read, 0, kvm_stats_header.sizeof);
  const known = owner && layouts.get(owner);
  if (known?.header.every((byte, n) => byte === header[n])) return known;
  const layout = readLayout(read, header);
  if (owner !== undefined) layouts.set(owner, layout);
  return layout;
}

function readLayout(read: StatsReader, bytes: Uint8Array): Layout {
  const header = view(bytes);
  const nameSize = header.getUint32(kvm_stats_header.name_size, true);
  const count = header.getUint32(kvm_stats_header.num_desc, true);
  const first = header.getUint32(kvm_stats_header.desc_offset, true);
  const start = header.getUint32(kvm_stats_header.data_offset, true);
  if (nameSize > MAX_NAME || count > MAX_DESCRIPTORS) {
    throw new RangeError(`KVM statistics: ${count} descriptors with names of ${nameSize} bytes`);
  }
  const stride = kvm_stats_desc.sizeof + nameSize;
  const table = exactly(read, first, count * stride);
  const data = view(table);
  const descriptors = Array.from({ length: count }, (_, index) => {
    const entry = index * stride;
    const name = cString(table.subarray(entry + kvm_stats_desc.name, entry + stride));
    const buckets = data.getUint16(entry + kvm_stats_desc.size, true);
    if (buckets > MAX_BUCKETS) throw new RangeError(`KVM statistics: ${name} has ${buckets} values`);
    const type = data.getUint32(entry + kvm_stats_desc.flags, true) & KVM_STATS_TYPE_MASK;
    const at = data.getUint32(entry + kvm_stats_desc.offset, true);
    return { name, isCumulative: type === KVM_STATS_TYPE_CUMULATIVE, buckets, at };
  });
  const length = descriptors.reduce((end, { at, buckets }) => Math.max(end, at + buckets * 8), 0);
  if (length > MAX_BYTES) throw new RangeError(`KVM statistics: ${length} bytes of values`);
  return { header: bytes, descriptors, start, length };
}

/** All of them by one call. */
function valuesOf(read: StatsReader, { start, length }: Layout): DataView {
  return view(exactly(read, start, length));
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
