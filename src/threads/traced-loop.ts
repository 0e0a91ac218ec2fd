/**
 * The loop of vcpu-loop.ts for a vCPU whose exits are recorded: the same, with
 * calls of the recorder in between. They are two loops for speed: the other one
 * does not even test whether to record.
 */
import type { AddressSpace } from "../bus/address-space.ts";
import { INTERRUPTED } from "../kvm/exit.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { VcpuCounters } from "./blocks.ts";
import type { Control } from "./control.ts";
import type { ExitRecorder } from "./exit-recorder.ts";
import type { Ending } from "./shared.ts";
import { type DEBUG, serve } from "./vcpu-loop.ts";

/** As runVcpu; also returns when exits are no longer to be recorded. */
export function runTracedVcpu(
  vcpu: Vcpu,
  ports: AddressSpace,
  memory: AddressSpace,
  control: Control,
  counters: VcpuCounters,
  recorder: ExitRecorder,
): Ending | typeof DEBUG | undefined {
  const { exits, interrupted } = counters;
  recorder.start();
  try {
    while (control.tracing) {
      const reason = vcpu.runTimed();
      recorder.left();
      if (reason === INTERRUPTED) {
        interrupted[0]++;
        continue;
      }
      exits[reason]++;
      recorder.exit(reason);
      const ending = serve(vcpu, reason, ports, memory);
      recorder.answered(reason);
      if (ending !== undefined) return ending;
    }
    // As in runVcpu: an instruction may need several answers before it is finished.
    for (;;) {
      vcpu.kick(); // as Vcpu.completeExit does
      const reason = vcpu.runTimed();
      recorder.left();
      if (reason === INTERRUPTED) return undefined;
      exits[reason]++;
      recorder.exit(reason);
      const ending = serve(vcpu, reason, ports, memory);
      recorder.answered(reason);
      if (ending !== undefined) return ending;
    }
  } finally {
    recorder.stop();
  }
}
