/**
 * `-smp`: how many CPUs, and how they are divided.
 *
 * Source: QEMU 11.1, qemu-options.hx; the rules and the sentences are those that it was seen to have. What is
 * left out is computed: cores first, then sockets, then threads.
 */
import { keysOf, readKeys } from "../../config/keys.ts";
import { MACHINE, MAX_CPUS } from "../../config/machine.ts";
import { table } from "../../config/schema.ts";
import { integer } from "../../config/value.ts";
import { type Complain, splitKeyValues } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";

const MOST = 0xffff_ffff;
const count = { type: integer(0, MOST), help: "" };
const KEYS = keysOf(
  table({
    cpus: count,
    maxcpus: count,
    sockets: count,
    dies: count,
    cores: count,
    threads: count,
    ...{ modules: count, clusters: count, books: count, drawers: count },
  }),
);

export interface Smp {
  readonly cpus: number;
  readonly sockets: number;
  readonly dies: number;
  readonly cores: number;
  readonly threads: number;
}

export const SMP_OPTION: OptionRow = {
  names: ["smp"],
  argument: "[cpus=]N[,sockets=N][,dies=N][,cores=N][,threads=N][,maxcpus=N]",
  example: "-smp 2",
  help: `${MACHINE.cpus.help} (default: 1), and how the guest sees them divided (default: cores of one socket). maxcpus= makes room for more in the numbering; CPUs cannot be added later`,
  apply: (draft, value, _typed, complain) => {
    const { cpus, ...topology } = readSmp(value, complain);
    draft.vm.cpus = cpus;
    const { sockets, dies, cores, threads } = topology;
    const isUsual = sockets === 1 && dies === 1 && threads === 1 && cores === cpus;
    if (isUsual) delete draft.vm.topology;
    else draft.vm.topology = topology;
  },
};

function readSmp(value: string, complain: Complain): Smp {
  const given = readKeys(splitKeyValues(value, "cpus"), KEYS, complain);
  if (Object.values(given).some((number) => number === 0)) {
    throw complain("Invalid CPU topology: CPU topology parameters must be greater than zero");
  }
  for (const level of ["modules", "clusters", "books", "drawers"] as const) {
    if ((given[level] ?? 1) > 1) throw complain(`${level} > 1 not supported by this machine's CPU topology`);
  }
  const { cpus = 0, maxcpus = 0, dies = 1 } = given;
  let { sockets = 0, cores = 0, threads = 0 } = given;
  if (cpus === 0 && maxcpus === 0) {
    sockets ||= 1;
    cores ||= 1;
    threads ||= 1;
  } else {
    const most = maxcpus || cpus;
    if (cores === 0) {
      sockets ||= 1;
      threads ||= 1;
      cores = Math.floor(most / (sockets * dies * threads));
    } else if (sockets === 0) {
      threads ||= 1;
      sockets = Math.floor(most / (dies * cores * threads));
    }
    threads ||= Math.floor(most / (sockets * dies * cores));
  }
  const product = sockets * dies * cores * threads;
  const most = maxcpus || cpus || product;
  const all = cpus || most;
  const levels = `sockets (${sockets}) * dies (${dies}) * modules (1) * cores (${cores}) * threads (${threads})`;
  if (product !== most) {
    throw complain(
      `Invalid CPU topology: product of the hierarchy must match maxcpus: ${levels} != maxcpus (${most})`,
    );
  }
  if (most < all) {
    throw complain(
      `Invalid CPU topology: maxcpus must be equal to or greater than smp: ${levels} == maxcpus (${most}) < smp_cpus (${all})`,
    );
  }
  if (all > MAX_CPUS) {
    throw complain(`Invalid SMP CPUs ${all}. The max CPUs supported by this machine is ${MAX_CPUS}`);
  }
  return { cpus: all, sockets, dies, cores, threads };
}
