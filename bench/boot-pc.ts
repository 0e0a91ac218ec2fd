/**
 * How long a PC takes from power-on to the login of a stock image: SeaBIOS, GRUB legacy, Linux.
 *
 *   npm run bench -- boot-pc [--json FILE] [ide] [virtio] [ports]
 *
 * The peer is QEMU's pc without a display (`-vga none`) and with the same image (lab/pc-disk/build), which
 * each has as a copy in memory, on IDE or on virtio. Boots alternate. The time is from the start of the
 * process; exits are returns of KVM_RUN until the prompt. `ports` counts accesses by port instead, in one boot
 * of each.
 */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { findPcDisk, scratchFolder } from "./support/guest.ts";
import { RunTrace } from "./support/kvm-counters.ts";
import { type Monitor, qemu, vmexit, withMonitor, withSpareLives } from "./support/monitor.ts";
import { median, Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 3);
const TIME_GOAL = 0.85;
const EXITS_GOAL = 0.7;
/** Firmware and boot loader read 19 MB by port accesses, which take long in the lab. */
const PATIENCE_MS = 1_200_000;
const INTERFACES = ["ide", "virtio"].filter(
  (bus, _, all) => process.argv.includes(bus) || !all.some((each) => process.argv.includes(each)),
);
/** What is timed, by what is printed then. */
const MOMENTS = {
  "to GRUB": "GRUB Loading stage1.5",
  "to Linux": "Linux version",
  "to login": "login: ",
} as const;

type Moment = keyof typeof MOMENTS;
const moments = Object.keys(MOMENTS).filter((name): name is Moment => name in MOMENTS);

const scratch = scratchFolder();
const image = findPcDisk();

class Contestant {
  readonly monitor: Monitor;
  readonly times = new Map<Moment, number[]>(moments.map((moment) => [moment, []]));
  readonly exits: number[] = [];

  constructor(monitor: Monitor) {
    this.monitor = monitor;
  }

  boot(): Promise<void> {
    const trace = new RunTrace();
    return withSpareLives(async () => {
      const counted = trace.start(false);
      try {
        await withMonitor(this.monitor, async (running) => {
          const at: number[] = [];
          for (const moment of moments) at.push((await running.waitFor(MOMENTS[moment], PATIENCE_MS)).at);
          if (counted) this.exits.push([...trace.exitsToUser().values()].reduce((a, b) => a + b, 0));
          moments.forEach((moment, n) => void this.times.get(moment)?.push(at[n] - running.startedAt));
        });
      } finally {
        if (counted) trace.stop();
      }
    });
  }
}

/** The ports that are accessed most in a boot. */
async function printPorts(monitor: Monitor): Promise<void> {
  const trace = new RunTrace();
  if (!trace.start(true)) throw new Error("the kernel's tracing is not available");
  try {
    await withMonitor(monitor, (running) => running.waitFor("login: ", PATIENCE_MS));
    const counts = [...trace.exitsToUser(), ...trace.ports()].sort(([, a], [, b]) => b - a);
    console.log(
      `${monitor.name}: ${counts
        .slice(0, 40)
        .map((each) => each.join(": "))
        .join(", ")}`,
    );
  } finally {
    trace.stop();
  }
}

function options(name: string, bus: string): string[] {
  const file = join(scratch, `${name}-${bus}.img`);
  copyFileSync(image, file);
  const drive = ["-drive", `file=${file},format=raw,if=${bus},snapshot=on`];
  return ["-M", "pc", "-m", "128", "-smp", "2", "-nographic", "-vga", "none", "-net", "none", ...drive];
}

const results = new Results();
for (const bus of INTERFACES) {
  const ours = new Contestant(vmexit(...options("ours", bus)));
  const peer = new Contestant(qemu("pc", ...options("qemu", bus)));
  if (process.argv.includes("ports")) {
    for (const each of [ours, peer]) await printPorts(each.monitor);
    continue;
  }
  for (let round = 0; round < ROUNDS; round++) for (const each of [ours, peer]) await each.boot();
  const peerName = peer.monitor.name;
  for (const moment of moments) {
    const samples = { ours: ours.times.get(moment) ?? [], peer: peer.times.get(moment) ?? [], peerName };
    results.add(`${bus}: ${moment}`, "ms", samples, moment === "to login" ? { goal: TIME_GOAL } : {});
  }
  if (Number.isFinite(median(ours.exits))) {
    const samples = { ours: ours.exits, peer: peer.exits, peerName };
    results.add(`${bus}: exits to user space`, "exits", samples, { goal: EXITS_GOAL });
  }
}
if (!process.argv.includes("ports"))
  console.log(`boot-pc: medians of ${ROUNDS} boots each, of two CPUs and 128 MiB`);
results.finish();
