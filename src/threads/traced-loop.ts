/**
 * The loop of vcpu-loop.ts for a vCPU whose exits are recorded: the same loop with
 * calls of the recorder. They are two loops, so that the usual one does not
 * even check whether exits are recorded.
 */
import type { AddressSpace } from "../bus/address-space.ts";
import { INTERRUPTED } from "../kvm/exit.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { VcpuCounters } from "./blocks.ts";
import type { ExitRecorder } from "./exit-recorder.ts";
import type { Ending } from "./shared.ts";
import { type DEBUG, type LoopGate, serve } from "./vcpu-loop.ts";

/** Like runVcpu. It also returns when recording is switched off. @param recorder has been started */
export function runTracedVcpu(
  vcpu: Vcpu,
  ports: AddressSpace,
  memory: AddressSpace,
  gate: Pick<LoopGate, "tracing">,
  counters: VcpuCounters,
  recorder: ExitRecorder,
): Ending | typeof DEBUG | undefined {
  const { exits, interrupted } = counters;
  while (gate.tracing) {
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
  // As in runVcpu: an instruction may need several answers.
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
}
