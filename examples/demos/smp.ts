/**
 * Two processors: how one starts the other, and what the LOCK prefix is for.
 *
 * Each vCPU is a thread of this process (smp-thread.ts) inside KVM_RUN. Processor 1
 * waits there until processor 0 sends it INIT and start-up IPIs through its local APIC.
 * KVM emulates the APIC: this program sees neither the IPIs nor the wake-up.
 *
 * Guest: smp.s. Source: Intel MultiProcessor Specification 1.4, B.4; Linux api.rst, 4.38
 * KVM_GET_MP_STATE.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED, type Vcpu } from "vmexit/kvm";
import { bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { startFlat } from "./flat-mode.ts";
import { Guest } from "./guest.ts";
import { duration, heading, now, table } from "./print.ts";
import type { PortWrite, Report, Task } from "./smp-thread.ts";

const ROUNDS = 20_000; // counts of each processor
const QUICK = 100e6; // ns: a race that takes less is repeated with more rounds
const SEARCH_MS = 10_000; // how long to repeat until a count is lost

const CHECK_MS = 100; // how often this program checks whether the guest still counts
const CHECKS_STUCK = 20; // so many checks without progress, with the lock set, are a deadlock …
const CHECKS_HANGS = 300; // … and so many, in any case, are a guest that hangs

const MP_STATES = new Map([
  [KVM_MP_STATE_RUNNABLE, "runnable"],
  [KVM_MP_STATE_UNINITIALIZED, "uninitialized, it waits for INIT"],
]);

interface Race {
  /** How often both processors together went through the lock. */
  readonly made: number;
  /** The value of the counter. */
  readonly counted: number;
  readonly stuck: boolean;
  /** From the first report to the last; nanoseconds. */
  readonly time: number;
  readonly writes: readonly (PortWrite & { cpu: number })[];
  /** KVM_GET_MP_STATE of processor 1, before and after. */
  readonly states: readonly [string, string];
}

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("smp");
  const threads = [0, 1].map(() => new Worker(new URL("smp-thread.js", import.meta.url)));
  try {
    await Promise.all(threads.map((thread) => once(thread, "message")));
    const locked = await race(guest, threads, { withLock: true, rounds: ROUNDS });
    startUp(guest, locked, out);

    const unlocked: Race[] = [];
    const until = now() + SEARCH_MS * 1e6;
    for (let rounds = ROUNDS; ; ) {
      const next = await race(guest, threads, { withLock: false, rounds });
      unlocked.push(next);
      if (next.made > next.counted || now() > until) break;
      if (next.time < QUICK) rounds *= 10;
    }
    counting([locked], unlocked, out);
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate())); // none is in KVM_RUN any more
  }
}

/** One machine of two processors, from its creation to its end. */
async function race(
  guest: Guest,
  threads: readonly Worker[],
  { withLock, rounds }: { withLock: boolean; rounds: number },
): Promise<Race> {
  using machine = bareMachine(guest, { irqchip: true });
  const { cpu: bsp, memory, vm } = machine;
  using ap = vm.createVcpu(1);
  startFlat(bsp, guest.entry); // nobody sets the registers of processor 1
  const data = new DataView(memory.buffer);
  data.setUint32(guest.symbol("rounds"), rounds, true);
  data.setUint32(guest.symbol("with_lock"), withLock ? 1 : 0, true);
  const counted = () => data.getUint32(guest.symbol("counter"), true);
  const isTaken = () => data.getUint32(guest.symbol("spinlock"), true) !== 0;
  const state = () => MP_STATES.get(ap.getMpState()) ?? `${ap.getMpState()}`;

  const before = state();
  const cpus = [bsp, ap];
  const patience = () => (isTaken() && !withLock ? CHECKS_STUCK : CHECKS_HANGS);
  const reports = await runTogether(cpus, threads, guest.symbol("END_PORT"), counted, patience);
  const writes = reports
    .flatMap((report, cpu) => report.writes.map((write) => ({ ...write, cpu })))
    .toSorted((a, b) => a.time - b.time);
  // ECX counts down from `rounds`.
  const made = cpus.map((cpu) => rounds - Number(cpu.getRegs().rcx)).reduce((sum, n) => sum + n);
  const stuck = reports.some(({ ending }) => ending === "kicked");
  if (stuck && (withLock || !isTaken())) throw new Error("the guest hangs");
  const time = (writes.at(-1)?.time ?? 0) - (writes[0]?.time ?? 0);
  return { made, counted: counted(), stuck, time, writes, states: [before, state()] };
}

/**
 * Runs each CPU on its thread until all have ended. They are kicked if `progress` does not
 * change in `patience` checks.
 */
async function runTogether(
  cpus: readonly Vcpu[],
  threads: readonly Worker[],
  endPort: number,
  progress: () => number,
  patience: () => number,
): Promise<Report[]> {
  const reports = threads.map(async (thread): Promise<Report> => (await once(thread, "message"))[0]);
  const tasks = cpus.map(({ token }): Task => ({ token, endPort }));
  threads[1].postMessage(tasks[1]);
  await sleep(CHECK_MS); // processor 1 now sleeps inside KVM_RUN
  threads[0].postMessage(tasks[0]);

  let seen = 0;
  let unchanged = 0;
  const watch = setInterval(() => {
    unchanged = progress() === seen ? unchanged + 1 : 0;
    seen = progress();
    if (unchanged >= patience()) for (const cpu of cpus) cpu.kick();
  }, CHECK_MS);
  const done = await Promise.all(reports);
  clearInterval(watch);
  done.forEach(({ ending }, cpu) => {
    if (typeof ending === "object") throw new Error(`processor ${cpu}: unexpected exit ${ending.exit}`);
  });
  return done;
}

/** Prints each processor's reports of the start, in order. */
function startUp(guest: Guest, { writes, states }: Race, out: Out): void {
  const meaning = new Map([
    [guest.symbol("SENDING_INIT"), "sends INIT to processor 1"],
    [guest.symbol("SENDING_SIPI"), `sends a start-up IPI: begin at page ${guest.symbol("TRAMPOLINE_PAGE")}`],
    [guest.symbol("SENDING_SIPI_AGAIN"), "sends another, which is ignored"],
    [guest.symbol("AWAKE"), "begins, in real mode"],
  ]);
  const ended = guest.symbol("END_PORT");
  const what = ({ port, value }: PortWrite) =>
    port === ended ? "has counted" : (meaning.get(value) ?? `${value}`);
  const [{ time: start }] = writes;
  heading(out, "INIT, SIPI, SIPI");
  out(`Processor 1 before: ${states[0]}. After: ${states[1]}.`);
  out("");
  table(
    out,
    writes.map((write) => [`+${duration(write.time - start)}`, `processor ${write.cpu}`, what(write)]),
  );
  out("");
  out(`${writes.length} exits, all of them these reports. The local APICs are in the kernel.`);
}

function counting(locked: readonly Race[], unlocked: readonly Race[], out: Out): void {
  const row = (how: string) => (race: Race) => {
    const { made, counted, stuck } = race;
    return [
      how,
      made,
      counted,
      made - counted,
      stuck ? "stuck: the lock is set, and nobody has it" : "both finished",
    ];
  };
  heading(out, "Two processors count, protected by a spin lock");
  table(out, [
    ["taking it with", "times inside", "counter", "lost", ""],
    ...locked.map(row("lock bts")),
    ...unlocked.map(row("bts")),
  ]);
  out("");
  if (unlocked.some(({ made, counted }) => made > counted)) {
    out("Without LOCK, both were inside at once, read the same number, and wrote the same next one.");
  } else {
    out("Without LOCK nothing was lost either, on this host, this time: the two never met between the");
    out("read and the write of a BTS. The guest is wrong all the same.");
  }
}
