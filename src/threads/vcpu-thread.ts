/**
 * A vCPU thread: makes its copy of the machine, then runs the guest whenever it
 * is asked to. It does not return to its event loop before the machine ends: it
 * posts messages, and takes orders only by `take`.
 */
import * as abi from "../kvm/abi.ts";
import { Vcpu } from "../kvm/vcpu.ts";
import type { Board } from "../machine/board.ts";
import type { GuestRamPorts } from "../machine/ports.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { PARK } from "./control.ts";
import { ExitRecorder } from "./exit-recorder.ts";
import { attach, Plugged } from "./plugged.ts";
import type { Message, ThreadData, TraceOrder, VcpuRole } from "./shared.ts";
import { TraceWriter } from "./trace-ring.ts";
import { runTracedVcpu } from "./traced-loop.ts";
import { DEBUG, runVcpu } from "./vcpu-loop.ts";
import { VcpuPorts } from "./vcpu-ports.ts";

/** @param take returns the next order, if one was sent */
export function runVcpuThread(
  board: Board,
  data: ThreadData,
  role: VcpuRole,
  post: (message: Message) => void,
  take: () => TraceOrder | undefined,
): void {
  const { spec } = data;
  const vcpu = Vcpu.attach(role.vcpu);
  const handles = attach(data);
  const { vm } = handles;
  const plugged = new Plugged(board, data, handles);
  const { blocks } = plugged;
  const control = blocks.vcpus[role.index];
  const counters = blocks.counters[role.index];
  let ram: GuestRamPorts | undefined;
  const ports = new VcpuPorts({
    index: role.index,
    vm,
    blocks,
    ioWake: handles.ioWake,
    shadow: plugged.shadow,
    boardMemory: plugged.boardMemory,
    ram: () =>
      (ram ??= {
        memory: new GuestMemory(handles.ram, spec.ram),
        dirty: plugged.dirty,
      }),
    post,
    reconcile: () => plugged.reconcile(machine),
  });
  const machine = plugged.assemble(ports, counters);
  if (data.reportUnclaimed) {
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
    const order = take(); // sent before this thread got TRACE
    if (order === undefined) throw new Error("a trace was requested without a ring");
    const synced = abi.KVM_SYNC_X86_REGS | abi.KVM_SYNC_X86_SREGS;
    return new ExitRecorder({
      vcpu,
      registers: vcpu.exitRegisters((vm.checkExtension("SYNC_REGS") & synced) === synced),
      writer: new TraceWriter(order.ring),
      ram: new GuestMemory(handles.ram, spec.ram),
    });
  };
  const run = () => {
    if (!control.tracing) return runVcpu(vcpu, machine.ports, machine.memory, control, counters);
    recorder ??= makeRecorder();
    return runTracedVcpu(vcpu, machine.ports, machine.memory, control, counters, recorder);
  };

  while (control.sleepWhileParked()) {
    const stop = run();
    // If a single step ended the machine, the ending is reported, not the step.
    const ending = stop === DEBUG ? ports.ending : (stop ?? ports.ending);
    if (stop === undefined && ending === undefined && control.mayRun) continue; // with or without recording
    ports.ending = undefined;
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
  vcpu.close();
  handles.close();
}
