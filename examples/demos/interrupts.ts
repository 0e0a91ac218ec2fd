/**
 * Interrupts: a guest halts, and the host wakes it, by KVM_IRQ_LINE and by irqfd.
 *
 * The interrupt controllers are KVM's own (KVM_CREATE_IRQCHIP). Then HLT does not
 * exit to this program: the thread sleeps in the kernel, inside KVM_RUN, until an
 * interrupt wakes it. So the CPU has a thread of its own here
 * (interrupts-thread.ts), and the main thread plays the hardware that interrupts it.
 *
 * Guest: interrupts.s. Source: Linux Documentation/virt/kvm/api.rst, 4.24, 4.25,
 * 4.38 and 4.75; Intel 8259A data sheet.
 */
import { on } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { EventFd } from "vmexit/kvm";
import { bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { Guest } from "./guest.ts";
import type { CpuData, Return } from "./interrupts-thread.ts";
import { duration, heading, median, table } from "./print.ts";

const ROUNDS = 25;
const ASLEEP_MS = 5; // far longer than the guest needs from its 'z' to HLT
const LIMIT_MS = 20_000; // a guest that never wakes up ends the demo with an error

/** The time of a wake-up, in ns: of the host's call, and from its start to the handler's exit. */
interface Cost {
  readonly call: number;
  readonly wake: number;
}

/** Nanoseconds, on the clock of the CPU's thread. */
const clock = () => Number(process.hrtime.bigint());

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("interrupts");
  using machine = bareMachine(guest, { irqchip: true });
  const { vm, cpu } = machine;
  using event = EventFd.create();
  vm.irqfd(event, guest.symbol("EVENT_INPUT")); // a write to the event raises that input
  const line = guest.symbol("LINE_INPUT");

  const stop = new Int32Array(new SharedArrayBuffer(4));
  const data: CpuData = { token: cpu.token, stop };
  const thread = new Worker(new URL("interrupts-thread.js", import.meta.url), { workerData: data });
  const gone = new Promise((resolve) => thread.once("exit", resolve));
  const end = () => {
    Atomics.store(stop, 0, 1);
    cpu.kick();
  };
  process.once("exit", end); // Node waits for its threads, and this one may sleep in KVM_RUN
  const returns = on(thread, "message", { signal: AbortSignal.timeout(LIMIT_MS) });

  const started = clock();
  let returned = 0;
  let trace: string[][] = [];
  const log = (at: number, who: string, what: string, note = "") =>
    trace.push([((at - started) / 1e6).toFixed(3).padStart(8), who, what, note]);
  const show = () => {
    table(out, [["      ms", "thread", "what", ""], ...trace]);
    trace = [];
  };
  /** Waits until KVM_RUN returns on the CPU's thread, and checks that it is for what is expected. */
  const next = async (expected: string, note: (seen: Return) => string): Promise<Return> => {
    const [seen]: Return[] = (await returns.next()).value;
    returned++;
    const reason = seen.what === "kick" ? "INTERRUPTED" : `IO out 0xe9 1 ${seen.what}`;
    log(seen.left, "cpu", `${reason} after ${duration(seen.left - seen.entered)} in KVM_RUN`, note(seen));
    if (seen.what !== expected) throw new Error(`the guest gave ${seen.what} instead of ${expected}`);
    return seen;
  };
  /** Makes KVM_RUN return until the CPU is halted. */
  const kickUntilHalted = async () => {
    for (let halted = false; !halted; ) {
      await sleep(ASLEEP_MS);
      log(clock(), "host", "kick");
      cpu.kick();
      const note = (seen: Return) =>
        `the CPU is ${seen.halted ? "halted" : "not halted yet"}; next: ${guest.sourceAt(seen.rip)}`;
      ({ halted } = await next("kick", note));
    }
  };
  /** Raises an interrupt and waits for the handler's exit. Returns how long the call and the wake-up took. */
  const wake = async (what: string, handler: string, raise: () => void) => {
    await sleep(ASLEEP_MS);
    const before = clock();
    raise();
    const call = clock() - before;
    log(before, "host", what, `the call took ${duration(call)}`);
    const { left } = await next(handler, (seen) => `the handler, ${duration(seen.left - before)} later`);
    await next("'z'", () => "on its way back to HLT");
    return { call, wake: left - before };
  };
  const byLine = () => wake(`KVM_IRQ_LINE: input ${line} high`, "'L'", () => vm.irqLine(line, true));
  const byEvent = () =>
    wake(`write to the irqfd of input ${guest.symbol("EVENT_INPUT")}`, "'E'", () => event.signal());

  out(`A guest of ${guest.bytes.length} bytes with KVM's PIC, its CPU on a thread of its own.`);
  try {
    heading(out, "The guest goes to sleep");
    await next("'z'", () => "IDT and PIC are ready, STI and HLT are next");
    await kickUntilHalted();
    show();
    out("HLT did not make KVM_RUN return; only the kick did. KVM_RUN was called again, and the CPU");
    out("still sleeps.");

    heading(out, "KVM_IRQ_LINE: the host drives the line");
    await byLine();
    vm.irqLine(line, true);
    log(clock(), "host", `KVM_IRQ_LINE: input ${line} high`, "it was high already");
    await kickUntilHalted();
    vm.irqLine(line, false);
    log(clock(), "host", `KVM_IRQ_LINE: input ${line} low`);
    show();
    out("The PIC is edge-triggered: a line that stays high interrupts once.");

    heading(out, "irqfd: an event drives the line");
    await byEvent();
    show();
    out("No ioctl and no vCPU: any process or driver that has the descriptor can do this.");

    heading(out, `Medians of ${ROUNDS} wake-ups each`);
    const lines: Cost[] = [];
    const events: Cost[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      lines.push(await byLine());
      vm.irqLine(line, false);
      events.push(await byEvent());
    }
    const row = (what: string, costs: Cost[]) => [
      what,
      duration(median(costs.map((c) => c.call))),
      duration(median(costs.map((c) => c.wake))),
    ];
    table(out, [["", "the call", "call to handler"], row("KVM_IRQ_LINE", lines), row("irqfd", events)]);
  } finally {
    end();
    await gone;
    process.off("exit", end);
  }

  heading(out, "What the kernel counted, and what this program saw");
  const stats = cpu.stats();
  const counter = (name: string) => [name, String(stats.get(name) ?? "not counted by this kernel")];
  table(out, [
    ["returns of KVM_RUN seen here", String(returned)],
    ["interrupts raised here", String(2 + 2 * ROUNDS)],
    ...["irq_injections", "halt_exits", "halt_wakeup"].map(counter),
  ]);
  out("No HLT, no interrupt and no PIC access is among the returns: the kernel handled them.");
}
