/**
 * How the CPUs of a machine are divided, and the APIC ids that follow from it: each
 * level has a field of whole bits, threads lowest, as Intel SDM volume 3A, 10.9
 * ("hierarchical mapping of shared resources") and AMD APM volume 3, appendix E.5 have it.
 */

export interface Topology {
  readonly sockets: number;
  /** In a socket. */
  readonly dies: number;
  /** In a die. */
  readonly cores: number;
  /** In a core. */
  readonly threads: number;
}

/** The place of a CPU: each number counts inside the level above. */
export interface CpuPlace {
  readonly apicId: number;
  readonly socket: number;
  readonly die: number;
  readonly core: number;
  readonly thread: number;
}

/** Bits of an APIC id below the field of a level: below cores, dies and sockets. */
export interface TopologyShifts {
  readonly core: number;
  readonly die: number;
  readonly socket: number;
}

/** One socket of `cpus` cores. */
export function singleSocket(cpus: number): Topology {
  return { sockets: 1, dies: 1, cores: cpus, threads: 1 };
}

/** The topology of a machine, by its spec. */
export function topologyOf({ cpus, topology }: { cpus: number; topology?: Topology }): Topology {
  return topology ?? singleSocket(cpus);
}

/** CPUs in a socket. */
export function perSocket({ dies, cores, threads }: Topology): number {
  return dies * cores * threads;
}

export function shiftsOf({ dies, cores, threads }: Topology): TopologyShifts {
  const core = bitsFor(threads);
  const die = core + bitsFor(cores);
  return { core, die, socket: die + bitsFor(dies) };
}

/** The place of CPU `index`: threads are counted first, sockets last. */
export function placeOf(topology: Topology, index: number): CpuPlace {
  const { dies, cores, threads } = topology;
  const shifts = shiftsOf(topology);
  const thread = index % threads;
  const core = Math.floor(index / threads) % cores;
  const die = Math.floor(index / (threads * cores)) % dies;
  const socket = Math.floor(index / (threads * cores * dies));
  const apicId = thread + core * 2 ** shifts.core + die * 2 ** shifts.die + socket * 2 ** shifts.socket;
  return { apicId, socket, die, core, thread };
}

/** Bits that can number `count` things. */
function bitsFor(count: number): number {
  return Math.ceil(Math.log2(count));
}
