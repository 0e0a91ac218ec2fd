/**
 * Every return of KVM_RUN, explained: the reason, the guest's RIP, the access, and
 * the time on both sides. Then KVM's own counters, exits that it handled included.
 *
 * Guests: entry-exit.s, three instructions; entry-exit-more.s, one exit of each
 * kind. Source: api.rst, section 5 "The kvm_run structure".
 */
import { exitName, KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_MMIO, type Stats, type Vcpu } from "vmexit/kvm";
import { bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { Guest } from "./guest.ts";
import { character, duration, heading, hex, median, now, table } from "./print.ts";

/** What the monitor answers to reads, byte after byte. */
const ANSWER = "vmexit";

/** One return of KVM_RUN. */
interface Return {
  readonly reason: number;
  /** The access, decoded. */
  readonly what: string;
  readonly rip: number;
  /** Times at which KVM_RUN was called and returned, in ns. */
  readonly entered: number;
  readonly returned: number;
}

export async function demo(out: Out): Promise<void> {
  out(
    "Each line of the tables is one return of KVM_RUN. Inside: the time in KVM_RUN before it. Outside: the",
  );
  out("time until the next KVM_RUN, which this program spends on decoding, answering, and reading RIP.");
  heading(out, "Three instructions: mov al, 'H'; out 0xe9, al; hlt");
  const three = new Guest("entry-exit");
  {
    using machine = bareMachine(three);
    const returns = runUntilHlt(machine.cpu);
    print(out, three, returns);
    const behind = returns[0].rip === three.symbol("halt");
    out("");
    out(
      behind
        ? "At the IO exit RIP is behind the OUT already: this KVM has completed the instruction."
        : "At the IO exit RIP is still at the OUT: KVM completes the instruction at the next entry.",
    );
  }

  heading(out, "One of each kind");
  const more = new Guest("entry-exit-more");
  using machine = bareMachine(more);
  const { cpu, kvm } = machine;
  cpu.setCpuid(kvm.supportedCpuid());
  const returns = runUntilHlt(cpu);
  print(out, more, returns);

  const repeats = more.symbol("REPEATS");
  heading(out, `The same OUT ${repeats} times`);
  const inside: number[] = [];
  const outside: number[] = [];
  for (let returned = now(); ; ) {
    const entered = now();
    const reason = cpu.run();
    if (reason !== KVM_EXIT_IO) break;
    if (inside.length > 0) outside.push(entered - returned);
    returned = now();
    inside.push(returned - entered);
  }
  table(out, [
    [
      "inside",
      duration(median(inside)),
      "KVM_RUN: entry, LOOP and OUT in the guest, exit, and KVM's own work",
    ],
    [
      "outside",
      duration(median(outside)),
      "from its return to the next KVM_RUN: here a loop that only reads the clock",
    ],
  ]);
  out(`  Medians of ${inside.length} exits.`);

  heading(out, "What KVM counted for this CPU");
  const total = returns.length + inside.length + 1;
  table(out, [["returns of KVM_RUN, counted here", total], ...counters(cpu.stats())]);
}

/** Runs the guest to its next HLT. */
function runUntilHlt(cpu: Vcpu): Return[] {
  const returns: Return[] = [];
  for (;;) {
    const entered = now();
    const reason = cpu.run();
    const returned = now();
    const what = serve(cpu, reason);
    returns.push({ reason, what, rip: Number(cpu.getRegs().rip), entered, returned });
    if (reason === KVM_EXIT_HLT) return returns;
  }
}

/** Answers an exit, and describes it: direction, port or address, bytes of an element, values. */
function serve({ exit: { io, mmio } }: Vcpu, reason: number): string {
  switch (reason) {
    case KVM_EXIT_HLT:
      return "";
    case KVM_EXIT_IO: {
      const values = Array.from({ length: io.count }, (_, i) => {
        if (!io.isWrite) io.put(i, ANSWER.charCodeAt(i % ANSWER.length));
        return valueText(io.get(i), io.size);
      });
      return `${io.isWrite ? "out" : "in"} ${hex(io.port)} ${io.size} ${values.join(" ")}`;
    }
    case KVM_EXIT_MMIO:
      if (!mmio.isWrite) for (let i = 0; i < mmio.length; i++) mmio.put(i, ANSWER.charCodeAt(i));
      return `${mmio.isWrite ? "write" : "read"} ${hex(mmio.address)} ${mmio.length} ${valueText(mmio.low, mmio.length)}`;
    default:
      throw new Error(`unexpected exit ${exitName(reason)}`);
  }
}

function valueText(value: number, size: number): string {
  return size === 1 ? character(value) : hex(value, 2 * size);
}

function print(out: Out, guest: Guest, returns: readonly Return[]): void {
  const rows = returns.map(({ reason, what, rip, entered, returned }, i) => [
    i + 1,
    exitName(reason),
    what,
    `${hex(rip)}  ${guest.sourceAt(rip) ?? "(behind the last instruction)"}`,
    duration(returned - entered),
    i + 1 < returns.length ? duration(returns[i + 1].entered - returned) : "-",
  ]);
  table(out, [["#", "reason", "what", "RIP, and what is there", "inside", "outside"], ...rows]);
}

/** KVM's own counters of exits. */
function counters(stats: Stats): (string | number)[][] {
  const meanings = {
    exits: "exits: all, including those that KVM handled itself",
    io_exits: "io_exits: of these, port accesses that the processor reported",
    mmio_exits: "mmio_exits: accesses to memory that is not RAM",
    halt_exits: "halt_exits: HLT",
    insn_emulation: "insn_emulation: instructions that the kernel emulated",
    pf_taken: "pf_taken: page faults of the second-level tables",
  };
  return Object.entries(meanings).flatMap(([name, meaning]) => {
    const value = stats.get(name);
    return typeof value === "bigint" ? [[meaning, Number(value)]] : [];
  });
}
