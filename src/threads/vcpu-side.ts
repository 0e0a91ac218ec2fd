/**
 * A vCPU on the thread that serves it: the thread's copy of the machine, and one
 * run of the loop after the other.
 */
import * as abi from "../kvm/abi.ts";
import type { ExitQueue } from "../kvm/exit-queue.ts";
import { Vcpu } from "../kvm/vcpu.ts";
import type { Board } from "../machine/board.ts";
import type { Machine } from "../machine/machine.ts";
import type { GuestRamPorts } from "../machine/ports.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import type { Blocks } from "./blocks.ts";
import { type Control, PARK } from "./control.ts";
import { ExitRecorder } from "./exit-recorder.ts";
import { attach, Plugged } from "./plugged.ts";
import type { Message, ThreadData, TraceOrder, VcpuRole } from "./shared.ts";
import { TraceWriter } from "./trace-ring.ts";
import { runTracedVcpu } from "./traced-loop.ts";
import { DEBUG, type LoopGate, runVcpu } from "./vcpu-loop.ts";
import { VcpuPorts } from "./vcpu-ports.ts";

/** Answers the exit that is there, and runs the guest no further. */
const CLOSED = { running: false };

export class VcpuSide {
  readonly vcpu: Vcpu;
  readonly control: Control;
  readonly blocks: Blocks;
  readonly #data: ThreadData;
  readonly #index: number;
  readonly #handles: ReturnType<typeof attach>;
  readonly #machine: Machine;
  readonly #ports: VcpuPorts;
  readonly #post: (message: Message) => void;
  readonly #take: () => TraceOrder | undefined;
  #memory: GuestMemory | undefined;
  #recorder: ExitRecorder | undefined;
  #isRecording = false;

  /** @param take returns the next order, if one was sent */
  constructor(
    board: Board,
    data: ThreadData,
    role: VcpuRole,
    post: (message: Message) => void,
    take: () => TraceOrder | undefined,
  ) {
    this.#data = data;
    this.#index = role.index;
    this.#post = post;
    this.#take = take;
    this.vcpu = Vcpu.attach(role.vcpu);
    const handles = attach(data);
    this.#handles = handles;
    const plugged = new Plugged(board, data, handles);
    this.blocks = plugged.blocks;
    this.control = this.blocks.vcpus[role.index];
    let ram: GuestRamPorts | undefined;
    this.#ports = new VcpuPorts({
      index: role.index,
      vm: handles.vm,
      blocks: this.blocks,
      ioWake: handles.ioWake,
      shadow: plugged.shadow,
      boardMemory: plugged.boardMemory,
      ram: () => (ram ??= { memory: this.#guestMemory, dirty: plugged.dirty }),
      post,
      reconcile: () => plugged.reconcile(this.#machine),
    });
    this.#machine = plugged.assemble(this.#ports, this.blocks.counters[role.index]);
    if (data.reportUnclaimed) this.#reportUnclaimed();
  }

  /**
   * Runs the guest while the gate is open. If the vCPU was asked to park, or ended
   * the machine, or met a breakpoint, it is parked then. The vCPU is between two instructions.
   */
  run(gate: LoopGate = this.control): void {
    const stop = this.#loop(gate);
    const { control } = this;
    // If a single step ended the machine, the ending is reported, not the step.
    const ending = stop === DEBUG ? this.#ports.ending : (stop ?? this.#ports.ending);
    if (stop === undefined && ending === undefined && control.mayRun) return; // with or without recording
    this.#ports.ending = undefined;
    this.#record(false);
    if (ending !== undefined) {
      control.request(PARK);
      this.#post({ kind: "ending", ending });
    } else if (stop === DEBUG) {
      control.request(PARK);
      const { debugException: exception, debugPc: pc, debugDr6: dr6 } = this.vcpu.exit;
      this.#post({ kind: "debug", stop: { vcpu: this.#index, exception, pc, dr6 } });
    }
    control.park();
    this.#post({ kind: "parked" });
  }

  /** Runs the guest without this thread: see Vcpu.runApart. `run` then begins with the exit. */
  runApart(queue: ExitQueue, tag: number): void {
    this.#record(this.control.tracing);
    this.vcpu.runApart(queue, tag, this.#isRecording);
  }

  /** The thread has nothing of the machine any more. */
  close(): void {
    this.vcpu.close();
    this.#handles.close();
  }

  #loop(gate: LoopGate): ReturnType<typeof runVcpu> {
    const { ports, memory } = this.#machine;
    const { vcpu } = this;
    const counters = this.blocks.counters[this.#index];
    if (this.control.tracing !== this.#isRecording) {
      // An exit that was reached without its registers is answered first.
      const stop = runVcpu(vcpu, ports, memory, CLOSED, counters);
      if (stop !== undefined) return stop;
      this.#record(this.control.tracing);
    }
    if (this.#recorder === undefined || !this.#isRecording) {
      return runVcpu(vcpu, ports, memory, gate, counters);
    }
    try {
      return runTracedVcpu(vcpu, ports, memory, gate, counters, this.#recorder);
    } catch (error) {
      this.#record(false); // what a device threw belongs to the last record
      throw error;
    }
  }

  #record(on: boolean): void {
    if (on === this.#isRecording) return;
    this.#isRecording = on;
    this.#recorder ??= this.#makeRecorder();
    if (on) this.#recorder.start();
    else this.#recorder.stop();
  }

  #makeRecorder(): ExitRecorder {
    const order = this.#take(); // sent before this thread got TRACE
    if (order === undefined) throw new Error("a trace was requested without a ring");
    const { vcpu } = this;
    const { vm } = this.#handles;
    const synced = abi.KVM_SYNC_X86_REGS | abi.KVM_SYNC_X86_SREGS;
    return new ExitRecorder({
      vcpu,
      registers: vcpu.exitRegisters((vm.checkExtension("SYNC_REGS") & synced) === synced),
      writer: new TraceWriter(order.ring),
      ram: this.#guestMemory,
    });
  }

  get #guestMemory(): GuestMemory {
    this.#memory ??= new GuestMemory(this.#handles.ram, this.#data.spec.ram);
    return this.#memory;
  }

  #reportUnclaimed(): void {
    for (const [space, name] of [
      [this.#machine.ports, "port"],
      [this.#machine.memory, "memory"],
    ] as const) {
      space.onUnclaimed = (direction, address, size, value) =>
        this.#post({ kind: "unclaimed", space: name, direction, address, size, value });
    }
  }
}
