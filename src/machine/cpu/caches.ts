/**
 * The caches that a CPU model shows, and how CPUID says it.
 *
 * Source: Intel SDM volume 2A, CPUID leaves 2 and 4; AMD APM volume 3, E.4.3 and E.4.4 (0x8000_0005,
 * 06), E.4.11 (0x8000_001D). All have lines of 64 bytes, one partition, and initialize themselves.
 */

export interface Cache {
  readonly ways: number;
  readonly sets: number;
  /** EDX of leaf 4: bit 0 write-back invalidate, bit 1 inclusive, bit 2 complex indexing. */
  readonly flags: number;
  /** Lines per tag, in the leaves that AMD has had since the K6. */
  readonly linesPerTag: number;
  readonly selfInitializing: boolean;
  /** The CPUs that share it: those whose APIC ids differ only below this field. */
  readonly sharedBy: "core" | "die" | "socket";
}

/** L1 data, L1 instructions, L2, L3. */
export type Caches = readonly [Cache, Cache, Cache, Cache];

const LINE = 64;

/** A cache of a core. */
function cache(ways: number, sets: number, flags: number, linesPerTag: number): Cache {
  return { ways, sets, flags, linesPerTag, selfInitializing: true, sharedBy: "core" };
}

/** The same, whose description says that software has to initialize it. */
function manual(ways: number, sets: number, flags: number, linesPerTag: number): Cache {
  return { ...cache(ways, sets, flags, linesPerTag), selfInitializing: false };
}

function ofDie(ways: number, sets: number, flags: number, linesPerTag: number): Cache {
  return { ...cache(ways, sets, flags, linesPerTag), sharedBy: "die" };
}

function ofSocket(ways: number, sets: number, flags: number, linesPerTag: number): Cache {
  return { ...cache(ways, sets, flags, linesPerTag), sharedBy: "socket" };
}

const OWN: ReadonlyMap<string, Caches> = new Map<string, Caches>([
  ["zen", [cache(8, 64, 1, 1), cache(4, 256, 1, 1), manual(8, 1024, 0, 1), ofDie(16, 8192, 2, 1)]],
  ["zen-exact", [cache(8, 64, 0, 1), cache(4, 256, 0, 1), cache(8, 1024, 2, 1), ofDie(16, 8192, 1, 1)]],
  ["rome", [cache(8, 64, 1, 1), cache(8, 64, 1, 1), manual(8, 1024, 0, 1), ofDie(16, 16384, 2, 1)]],
  ["rome-exact", [cache(8, 64, 0, 1), cache(8, 64, 0, 1), cache(8, 1024, 2, 1), ofDie(16, 16384, 1, 1)]],
  ["yongfeng", [cache(8, 64, 0, 1), cache(16, 64, 0, 1), cache(8, 512, 2, 0), ofDie(16, 8192, 3, 0)]],
  ["milan", [cache(8, 64, 1, 1), cache(8, 64, 1, 1), manual(8, 1024, 0, 1), ofDie(16, 32768, 2, 1)]],
  ["milan-exact", [cache(8, 64, 0, 1), cache(8, 64, 0, 1), cache(8, 1024, 2, 1), ofDie(16, 32768, 1, 1)]],
  [
    "sierra-forest",
    [cache(8, 64, 0, 0), cache(8, 128, 0, 0), ofDie(16, 4096, 0, 0), ofSocket(12, 147456, 4, 0)],
  ],
  ["genoa", [cache(8, 64, 1, 1), cache(8, 64, 1, 1), manual(8, 2048, 0, 1), ofDie(16, 32768, 2, 1)]],
  ["genoa-exact", [cache(8, 64, 0, 1), cache(8, 64, 0, 1), cache(8, 2048, 2, 1), ofDie(16, 32768, 1, 1)]],
  [
    "sapphire-rapids",
    [cache(12, 64, 0, 0), cache(8, 64, 0, 0), cache(16, 2048, 0, 0), ofSocket(15, 65536, 4, 0)],
  ],
  [
    "clearwater-forest",
    [cache(8, 64, 0, 0), cache(8, 128, 0, 0), ofDie(16, 4096, 0, 0), ofSocket(16, 540672, 4, 0)],
  ],
  [
    "granite-rapids",
    [cache(12, 64, 0, 0), cache(16, 64, 0, 0), cache(16, 2048, 0, 0), ofSocket(16, 294912, 4, 0)],
  ],
  ["turin", [cache(12, 64, 0, 1), cache(8, 64, 0, 1), cache(16, 1024, 2, 1), ofDie(16, 32768, 1, 1)]],
]);

/** What models show that have no caches of their own. */
const USUAL: Caches = [cache(8, 64, 1, 0), cache(8, 64, 1, 0), cache(16, 4096, 1, 0), ofDie(16, 16384, 6, 0)];
const USUAL_AMD: Caches = [
  cache(2, 512, 1, 1),
  cache(2, 512, 1, 1),
  cache(16, 512, 0, 1),
  ofDie(16, 16384, 6, 1),
];
/** With leaf 2 alone. */
const OLD: Caches = [USUAL[0], USUAL[1], cache(8, 4096, 1, 0), USUAL[3]];

const FIRST_WITH_LEAF_4 = 4;

/** @param basic the model's last basic leaf */
export function cachesOf(name: string | undefined, isAmd: boolean, basic: number): Caches {
  const own = name === undefined ? undefined : OWN.get(name);
  if (own !== undefined) return own;
  if (isAmd) return USUAL_AMD;
  return basic < FIRST_WITH_LEAF_4 ? OLD : USUAL;
}

const TYPES = [1, 2, 3, 3]; // data, instructions, unified
const LEVELS = [1, 1, 2, 3];
const SELF_INITIALIZING = 1 << 8;

/** EAX without the fields of topology, EBX, ECX and EDX of leaf 4 or 0x8000_001D for cache `n`. */
export function cacheParameters(
  caches: Caches,
  n: number,
): { eax: number; ebx: number; ecx: number; edx: number } {
  const { ways, sets, flags, selfInitializing } = caches[n];
  return {
    eax: TYPES[n] | (LEVELS[n] << 5) | (selfInitializing ? SELF_INITIALIZING : 0),
    ebx: ((ways - 1) << 22) | (LINE - 1),
    ecx: sets - 1,
    edx: flags,
  };
}

/** ECX or EDX of 0x8000_0005. */
export function level1(cache: Cache): number {
  return (kib(cache) << 24) | (cache.ways << 16) | (cache.linesPerTag << 8) | LINE;
}

/** ECX of 0x8000_0006. */
export function level2(cache: Cache): number {
  return (kib(cache) << 16) | (associativity(cache.ways) << 12) | (cache.linesPerTag << 8) | LINE;
}

/** EDX of 0x8000_0006: the size counts 512 KiB. */
export function level3(cache: Cache): number {
  return ((kib(cache) / 512) << 18) | (associativity(cache.ways) << 12) | (cache.linesPerTag << 8) | LINE;
}

function kib({ ways, sets }: Cache): number {
  return (ways * sets * LINE) / 1024;
}

/** AMD APM volume 3, table E-4. */
function associativity(ways: number): number {
  const codes = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128];
  const values = [1, 2, 4, 6, 8, 0xa, 0xb, 0xc, 0xd, 0xe];
  const found = codes.indexOf(ways);
  return found < 0 ? 9 : values[found];
}
