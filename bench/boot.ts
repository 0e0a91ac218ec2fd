/**
 * How long a boot takes, from the start of the process to the first line of the
 * guest's init and to its login prompt; how much memory the monitor needs, and how
 * many exits there are.
 *
 *   npm run bench -- boot [--json FILE]
 *
 * The peer is QEMU's microvm with the same kernel, initramfs, memory and command
 * line: a bzImage, and the same kernel unpacked, by PVH. Boots alternate. The first
 * boot of each kind is not timed: it measures memory and counts all exits by reason,
 * which takes time.
 */
import { bootArguments, findGuest, GUEST_MEMORY_MIB } from "./support/guest.ts";
import { kvmCounters, RunTrace } from "./support/kvm-counters.ts";
import { type Monitor, qemu, type Running, vmexit, withMonitor, withSpareLives } from "./support/monitor.ts";
import { residentBeyond } from "./support/process.ts";
import { amount, median, Results, table } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const MIB = 2 ** 20;
const SAMPLE_MS = 100;

/** The limit of returns to user space in a boot: what QEMU's microvm needs with all its optimizations. */
const USERSPACE_EXITS = 3200;

/** The two monitors with one form of the kernel. */
class Contest {
  readonly kernel: string;
  readonly ours: Contestant;
  readonly peer: Contestant;

  constructor(kernel: string, file: string, initrd: string) {
    const boot = bootArguments(file, initrd);
    this.kernel = kernel;
    this.ours = new Contestant(vmexit("-M", "microvm", "-stats", ...boot));
    this.peer = new Contestant(qemu("microvm", "-M", "microvm,acpi=on,rtc=on", "-display", "none", ...boot));
  }
}

class Contestant {
  readonly monitor: Monitor;
  readonly toEntry: number[] = [];
  readonly toInit: number[] = [];
  readonly toLogin: number[] = [];
  /** KVM's counters at the prompt, one map for each boot. */
  readonly counters: Map<string, number>[] = [];
  /** Exits to user space by reason at the prompt, one map for each boot. */
  readonly userspaceExits: Map<string, number>[] = [];
  /** Bytes. */
  peakBeyond = 0;
  /** All exits by reason, in the boot that is not timed. */
  exits = new Map<string, number>();
  /** The output of our command with -stats. */
  stats = "";

  constructor(monitor: Monitor) {
    this.monitor = monitor;
  }

  time(): Promise<void> {
    return this.#boot(false, async (running, trace) => {
      const init = await running.waitFor("vmexit: init");
      const login = await running.waitFor("login: ");
      const counters = kvmCounters(running.pid);
      this.toInit.push(init.at - running.startedAt);
      this.toLogin.push(login.at - running.startedAt);
      if (counters !== undefined) this.counters.push(counters);
      if (trace === undefined) return;
      this.userspaceExits.push(trace.exitsToUser());
      this.toEntry.push(trace.firstEntry() - running.startedAt);
    });
  }

  watch(): Promise<void> {
    return this.#boot(true, async (running, trace) => {
      const look = () => {
        const beyond = residentBeyond(running.pid, GUEST_MEMORY_MIB * MIB) ?? 0;
        this.peakBeyond = Math.max(this.peakBeyond, beyond);
      };
      const sampling = setInterval(look, SAMPLE_MS);
      try {
        await running.waitFor("login: ");
      } finally {
        clearInterval(sampling);
      }
      if (trace !== undefined) this.exits = trace.exits();
      look();
      await running.stop("SIGTERM");
      this.stats = running.errors;
    });
  }

  #boot(all: boolean, use: (running: Running, trace: RunTrace | undefined) => Promise<void>): Promise<void> {
    const trace = new RunTrace();
    return withSpareLives(async () => {
      const counted = trace.start(all);
      try {
        await withMonitor(this.monitor, (running) => use(running, counted ? trace : undefined));
      } finally {
        if (counted) trace.stop();
      }
    });
  }

  /** The median of one of KVM's counters. */
  counter(name: string): number {
    return median(this.counters.map((counters) => counters.get(name) ?? 0));
  }
}

function report(results: Results, { kernel, ours, peer }: Contest): void {
  const add = (
    what: string,
    unit: string,
    value: (contestant: Contestant) => number | readonly number[],
    goal?: number,
  ) => {
    const samples = { ours: value(ours), peer: value(peer), peerName: peer.monitor.name };
    results.add(`${kernel}: ${what}`, unit, samples, goal === undefined ? {} : { goal });
  };
  const counted = ours.userspaceExits.length > 0;
  if (counted) add("to the guest's first instruction", "ms", (c) => c.toEntry);
  add("to init's first line", "ms", (c) => c.toInit, 1);
  add("to login", "ms", (c) => c.toLogin, 1);
  add("peak memory beyond the guest's", "MiB", (c) => c.peakBeyond / MIB);
  if (ours.counters.length > 0) add("all exits", "exits", (c) => c.counter("exits"));
  if (!counted) return;
  const total = (c: Contestant) =>
    c.userspaceExits.map((exits) => [...exits.values()].reduce((a, b) => a + b));
  add("exits to user space", "exits", total);
  const limit = { ours: total(ours), peer: USERSPACE_EXITS, peerName: "the limit" };
  results.add(`${kernel}: exits to user space`, "exits", limit, { goal: 1 });
}

/** Exits by reason: medians, without those that are zero. */
function details({ kernel, ours, peer }: Contest): string {
  const rows = [[`${kernel}: until login`, "ours", peer.monitor.name]];
  const list = (title: string, maps: (contestant: Contestant) => readonly Map<string, number>[]) => {
    const names = [ours, peer].flatMap((c) => maps(c).flatMap((map) => [...map.keys()]));
    for (const name of [...new Set(names)].sort()) {
      const [a, b] = [ours, peer].map((c) => median(maps(c).map((map) => map.get(name) ?? 0)));
      if (a > 0 || b > 0) rows.push([`${title} ${name}`, amount(a), amount(b)]);
    }
  };
  list("exits to user space:", (c) => c.userspaceExits);
  list("all exits:", (c) => [c.exits]);
  list("kvm counts", (c) => c.counters);
  return `${table(rows)}\nvmexit -stats:\n${ours.stats}\n`;
}

const guest = findGuest();
const contests = [
  new Contest("bzImage", guest.vmlinuz, guest.initrd),
  new Contest("vmlinux", guest.vmlinux, guest.initrd),
];
for (const { ours, peer } of contests) {
  await ours.watch();
  await peer.watch();
}
for (let round = 0; round < ROUNDS; round++) {
  for (const { ours, peer } of contests) {
    await ours.time();
    await peer.time();
  }
}

const results = new Results();
for (const contest of contests) {
  process.stdout.write(details(contest));
  report(results, contest);
}
console.log(`boot: medians of ${ROUNDS} boots each, of one CPU and ${GUEST_MEMORY_MIB} MiB`);
results.finish();
