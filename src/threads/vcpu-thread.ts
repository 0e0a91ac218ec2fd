/**
 * A vCPU thread: makes its copy of the machine, then runs the guest whenever it
 * is asked to. It awaits nothing; messages go out and none are expected.
 */
import { Arena } from "../base/arena.ts";
import * as abi from "../kvm/abi.ts";
import { Vcpu } from "../kvm/vcpu.ts";
import { Vm } from "../kvm/vm.ts";
import { assembleMicrovm, virtioDevices } from "../machine/microvm.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import { blocks } from "./blocks.ts";
import { PARK } from "./control.ts";
import { ExitRecorder } from "./exit-recorder.ts";
import { attachRegisterPages } from "./register-pages.ts";
import type { Message, Order, ThreadData, VcpuRole } from "./shared.ts";
import { TraceWriter } from "./trace-ring.ts";
import { runTracedVcpu } from "./traced-loop.ts";
import { VcpuHost } from "./vcpu-host.ts";
import { DEBUG, runVcpu } from "./vcpu-loop.ts";

/** @param take the next order that was sent, if one is there */
export function runVcpuThread(
  data: ThreadData,
  role: VcpuRole,
  post: (message: Message) => void,
  take: () => Order | undefined,
): void {
  const { spec } = data;
  const shared = blocks(data.threads, spec.cpus, virtioDevices(spec));
  const control = shared.vcpus[role.index];
  const counters = shared.counters[role.index];
  const vcpu = Vcpu.attach(role.vcpu);
  const vm = Vm.attach(data.vm);

  const host = new VcpuHost({
    index: role.index,
    vm,
    blocks: shared,
    ioWake: EventFd.attach(data.ioWake),
    registerPage: attachRegisterPages(data.registerPages),
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

  let recorder: ExitRecorder | undefined;
  const makeRecorder = () => {
    const order = take(); // sent before this thread was told to trace
    if (order === undefined) throw new Error("told to trace, but not where");
    const synced = abi.KVM_SYNC_X86_REGS | abi.KVM_SYNC_X86_SREGS;
    return new ExitRecorder({
      vcpu,
      registers: vcpu.exitRegisters((vm.checkExtension("SYNC_REGS") & synced) === synced),
      writer: new TraceWriter(order.ring),
      ram: new GuestMemory(GuestRam.attach(data.ram), spec.ram),
    });
  };
  const run = () => {
    if (!control.tracing) return runVcpu(vcpu, machine.ports, machine.memory, control, counters);
    recorder ??= makeRecorder();
    return runTracedVcpu(vcpu, machine.ports, machine.memory, control, counters, recorder);
  };

  while (control.sleepWhileParked()) {
    const stop = run();
    // A step over the instruction that ended the machine is an ending.
    const ending = stop === DEBUG ? host.ending : (stop ?? host.ending);
    if (stop === undefined && ending === undefined && control.mayRun) continue; // the other way
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
