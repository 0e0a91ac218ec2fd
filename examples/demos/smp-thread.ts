/**
 * The thread of one virtual CPU: smp.ts starts two of them.
 *
 * KVM_RUN lasts as long as the guest runs, so each CPU that runs at the same time
 * needs its own thread. The vCPU itself is a descriptor of the process: another
 * thread attaches to it by its token.
 */
import { parentPort } from "node:worker_threads";
import { exitName, INTERRUPTED, KVM_EXIT_IO, Vcpu } from "vmexit/kvm";

/** A command of smp.ts: run this vCPU until it writes to `endPort`. */
export interface Task {
  readonly token: number;
  readonly endPort: number;
}

/** A write of the guest to a port. */
export interface PortWrite {
  readonly port: number;
  readonly value: number;
  /** Nanoseconds of CLOCK_MONOTONIC, the same clock in all threads. */
  readonly time: number;
}

/** The reply. */
export interface Report {
  readonly writes: readonly PortWrite[];
  /** The guest wrote to `endPort`, or the CPU was kicked, or it exited for another reason. */
  readonly ending: "done" | "kicked" | { readonly exit: string };
}

function run({ token, endPort }: Task): Report {
  using cpu = Vcpu.attach(token);
  const writes: PortWrite[] = [];
  for (;;) {
    const reason = cpu.run();
    const time = Number(process.hrtime.bigint());
    const { io } = cpu.exit;
    if (reason === INTERRUPTED) return { writes, ending: "kicked" };
    if (reason !== KVM_EXIT_IO || !io.isWrite) return { writes, ending: { exit: exitName(reason) } };
    writes.push({ port: io.port, value: io.get(0), time });
    if (io.port === endPort) return { writes, ending: "done" };
  }
}

parentPort?.on("message", (task: Task) => parentPort?.postMessage(run(task)));
parentPort?.postMessage("ready");
