/**
 * How long a boot takes, from the start of the process to the first line of the
 * guest's init and to its login prompt; what the monitor costs in memory, and how
 * often the guest left guest mode.
 *
 *   npm run bench -- boot [--json FILE]
 *
 * Against QEMU's microvm with the same kernel, initramfs, memory and command
 * line: a bzImage, and the same kernel unpacked, by PVH. Boots take turns. The
 * first one of each kind is not timed; memory and exits to user space are taken
 * in it, since watching costs time.
 */
import { bootArguments, findGuest, GUEST_MEMORY_MIB } from "./support/guest.ts";
import { kvmCounters, UserspaceExits } from "./support/kvm-counters.ts";
import { type Monitor, qemu, vmexit, withMonitor } from "./support/monitor.ts";
import { residentBeyond } from "./support/process.ts";
import { amount, median, Results, table } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 5);
const MIB = 2 ** 20;
const SAMPLE_MS = 100;

/** Returns to user space that a boot may cost: what QEMU's microvm needs with all its advantages on. */
const USERSPACE_EXITS = 3200;

interface Watched {
  readonly peakBeyond: number;
  readonly userspaceExits: Map<string, number> | undefined;
  /** What our command prints with -stats. */
  readonly stats: string;
}

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
  readonly toInit: number[] = [];
  readonly toLogin: number[] = [];
  /** KVM's counters when the prompt was there, one map a boot. */
  readonly counters: Map<string, number>[] = [];
  watched: Watched | undefined;

  constructor(monitor: Monitor) {
    this.monitor = monitor;
  }

  async time(): Promise<void> {
    await withMonitor(this.monitor, async (running) => {
      const init = await running.waitFor("vmexit: init");
      const login = await running.waitFor("login: ");
      const counters = kvmCounters(running.pid);
      this.toInit.push(init.at - running.startedAt);
      this.toLogin.push(login.at - running.startedAt);
      if (counters !== undefined) this.counters.push(counters);
    });
  }

  async watch(): Promise<void> {
    const exits = new UserspaceExits();
    try {
      await withMonitor(this.monitor, async (running) => {
        let peakBeyond = 0;
        const look = () => {
          peakBeyond = Math.max(peakBeyond, residentBeyond(running.pid, GUEST_MEMORY_MIB * MIB) ?? 0);
        };
        const sampling = setInterval(look, SAMPLE_MS);
        try {
          await running.waitFor("login: ");
        } finally {
          clearInterval(sampling);
        }
        const userspaceExits = exits.read();
        look();
        await running.stop("SIGTERM");
        this.watched = { peakBeyond, userspaceExits, stats: running.errors };
      });
    } finally {
      exits.stop();
    }
  }

  /** The median of one of KVM's counters. */
  counter(name: string): number {
    return median(this.counters.map((counters) => counters.get(name) ?? 0));
  }
}

function report(results: Results, { kernel, ours, peer }: Contest): void {
  const peerName = peer.monitor.name;
  const pair = (value: (contestant: Contestant) => number | readonly number[]) => ({
    ours: value(ours),
    peer: value(peer),
    peerName,
  });
  const lower = { goal: 1 };
  results.add(
    `${kernel}: to init's first line`,
    "ms",
    pair((c) => c.toInit),
    lower,
  );
  results.add(
    `${kernel}: to login`,
    "ms",
    pair((c) => c.toLogin),
    lower,
  );
  results.add(
    `${kernel}: peak memory beyond the guest's`,
    "MiB",
    pair((c) => (c.watched?.peakBeyond ?? 0) / MIB),
  );
  if (ours.counters.length > 0) {
    results.add(
      `${kernel}: all exits to login`,
      "exits",
      pair((c) => c.counter("exits")),
    );
  }
  const total = ({ watched }: Contestant) =>
    [...(watched?.userspaceExits ?? [])].reduce((sum, [, count]) => sum + count, 0);
  if (ours.watched?.userspaceExits === undefined) return;
  results.add(`${kernel}: exits to user space`, "exits", pair(total));
  results.add(
    `${kernel}: exits to user space`,
    "exits",
    { ours: total(ours), peer: USERSPACE_EXITS, peerName: "the limit" },
    lower,
  );
}

/** What happened, by reason; only what is not nothing. */
function details({ kernel, ours, peer }: Contest): string {
  const rows = [[`${kernel}: until login`, "ours", peer.monitor.name]];
  const list = (title: string, names: Iterable<string>, value: (c: Contestant, name: string) => number) => {
    for (const name of [...new Set(names)].sort()) {
      const [a, b] = [value(ours, name), value(peer, name)];
      if (a > 0 || b > 0) rows.push([`${title} ${name}`, amount(a), amount(b)]);
    }
  };
  list(
    "to user space:",
    [ours, peer].flatMap((c) => [...(c.watched?.userspaceExits?.keys() ?? [])]),
    (c, name) => c.watched?.userspaceExits?.get(name) ?? 0,
  );
  list(
    "kvm:",
    [ours, peer].flatMap((c) => c.counters.flatMap((counters) => [...counters.keys()])),
    (c, name) => c.counter(name),
  );
  return `${table(rows)}\nvmexit -stats, of the boot that was watched:\n${ours.watched?.stats ?? ""}\n`;
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
