/**
 * The CPU of the demo `interrupts`, on a thread of its own: calls KVM_RUN in a loop,
 * and reports to the main thread why it returned.
 */
import { parentPort, workerData } from "node:worker_threads";
import { exitName, INTERRUPTED, KVM_EXIT_IO, KVM_MP_STATE_HALTED, Vcpu } from "vmexit/kvm";

export interface CpuData {
  /** The vCPU's token. */
  readonly token: number;
  /** If its first element is 1, the next kick ends the thread. */
  readonly stop: Int32Array;
}

/** One return of KVM_RUN. Times in ns of CLOCK_MONOTONIC, the same clock in all threads. */
export interface Return {
  /** `'z'` for a byte that the guest wrote to port 0xe9; "kick" when the host interrupted KVM_RUN. */
  readonly what: string;
  readonly entered: number;
  readonly left: number;
  /** After a kick: is the CPU halted, and which instruction is next? */
  readonly halted: boolean;
  readonly rip: number;
}

/** Nanoseconds of CLOCK_MONOTONIC, the same in all threads. */
const clock = () => Number(process.hrtime.bigint());

/** Enters the guest, reports why KVM_RUN returned, enters the guest again. */
function runCpu({ token, stop }: CpuData): void {
  const cpu = Vcpu.attach(token);
  for (;;) {
    const entered = clock();
    const reason = cpu.run();
    const left = clock();
    const kicked = reason === INTERRUPTED;
    if (kicked && Atomics.load(stop, 0) === 1) return;
    if (!kicked && reason !== KVM_EXIT_IO) throw new Error(`unexpected exit ${exitName(reason)}`);
    const what = kicked ? "kick" : `'${String.fromCharCode(cpu.exit.io.get(0))}'`;
    const halted = kicked && cpu.getMpState() === KVM_MP_STATE_HALTED;
    const rip = kicked ? Number(cpu.getRegs().rip) : 0;
    parentPort?.postMessage({ what, entered, left, halted, rip } satisfies Return);
  }
}

runCpu(workerData);
