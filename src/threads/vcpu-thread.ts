/**
 * A vCPU thread: makes its copy of the machine, then runs the guest whenever it
 * is asked to. It awaits nothing; messages go out and none are expected.
 */
import { Arena } from "../base/arena.ts";
import { Vcpu } from "../kvm/vcpu.ts";
import { Vm } from "../kvm/vm.ts";
import { assembleMicrovm, virtioDevices } from "../machine/microvm.ts";
import { EventFd } from "../sys/event.ts";
import { blocks } from "./blocks.ts";
import { PARK } from "./control.ts";
import type { Message, ThreadData, VcpuRole } from "./shared.ts";
import { VcpuHost } from "./vcpu-host.ts";
import { DEBUG, runVcpu } from "./vcpu-loop.ts";

export function runVcpuThread(data: ThreadData, role: VcpuRole, post: (message: Message) => void): void {
  const { spec } = data;
  const shared = blocks(data.threads, spec.cpus, virtioDevices(spec));
  const control = shared.vcpus[role.index];
  const counters = shared.counters[role.index];
  const vcpu = Vcpu.attach(role.vcpu);

  const host = new VcpuHost({
    index: role.index,
    vm: Vm.attach(data.vm),
    blocks: shared,
    interrupts: data.interrupts.map((token) => EventFd.attach(token)),
    ioWake: EventFd.attach(data.ioWake),
    post,
    queuesSettled: (slot) => virtio[slot].transport.epoch === virtio[slot].runner.epoch,
  });
  const { machine, virtio } = assembleMicrovm(spec, new Arena(data.state), host, counters);
  if (spec.traceUnclaimed) {
    for (const [space, name] of [
      [machine.ports, "port"],
      [machine.memory, "memory"],
    ] as const) {
      space.onUnclaimed = (direction, address, size, value) =>
        post({ kind: "unclaimed", space: name, direction, address, size, value });
    }
  }

  while (control.sleepWhileParked()) {
    const stop = runVcpu(vcpu, machine.ports, machine.memory, control, counters);
    // A step over the instruction that ended the machine is an ending.
    const ending = stop === DEBUG ? host.ending : (stop ?? host.ending);
    host.ending = undefined;
    if (ending !== undefined) {
      control.request(PARK);
      post({ kind: "ending", ending });
    } else if (stop === DEBUG) {
      control.request(PARK);
      const { debugException: exception, debugPc: pc, debugDr6: dr6 } = vcpu.exit;
      post({ kind: "debug", stop: { vcpu: role.index, exception, pc, dr6 } });
    }
    control.park();
    post({ kind: "parked" });
  }
}
