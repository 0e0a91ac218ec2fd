/**
 * The ports of a machine on a vCPU thread. They write to descriptors and shared
 * memory, so they do not wait for JavaScript of another thread, except in three
 * cases: a full console ring, a device of the program, and queues that a driver
 * disables.
 */
import type { ByteRing } from "../base/ring.ts";
import type {
  AfterWrite,
  ByteSink,
  IoDevice,
  IrqPulse,
  MessageSink,
  PowerSwitch,
  Signal,
} from "../bus/io.ts";
import type { DriveIrq } from "../bus/irq.ts";
import type { Vm } from "../kvm/vm.ts";
import { type Clock, machineClock } from "../machine/clock.ts";
import type { GuestRamPorts, Ports } from "../machine/ports.ts";
import type { EventFd } from "../sys/event.ts";
import type { Blocks } from "./blocks.ts";
import { type Control, END, PARK } from "./control.ts";
import { OwnDevice } from "./mailbox.ts";
import { messagesTo } from "./messages.ts";
import type { Ending, Message } from "./shared.ts";

/** How often a vCPU that waits for a slow reader checks whether the machine is ending. */
const ROOM_CHECK_MS = 50;

export interface VcpuWires {
  readonly index: number;
  readonly vm: Vm;
  readonly blocks: Blocks;
  /** Wakes the io thread. */
  readonly ioWake: EventFd;
  readonly shadow: Ports["shadow"];
  readonly boardMemory: Ports["boardMemory"];
  readonly ram: () => GuestRamPorts;
  readonly post: (message: Message) => void;
  /** Makes KVM's objects match the registers. */
  readonly reconcile: () => void;
}

export class VcpuPorts implements Ports {
  readonly clock: Clock;
  readonly power: PowerSwitch;
  readonly driveIrq: DriveIrq;
  readonly replacePit: Ports["replacePit"];
  readonly moved: AfterWrite;
  readonly shadow: Ports["shadow"];
  readonly boardMemory: Ports["boardMemory"];
  readonly messages: MessageSink;
  readonly #wires: VcpuWires;
  readonly #control: Control;
  /** Set when this vCPU ended or reset the machine. */
  ending: Ending | undefined;

  constructor(wires: VcpuWires) {
    const { vm, blocks, index, shadow, reconcile } = wires;
    this.#wires = wires;
    this.clock = machineClock(blocks.clockOffsetNs);
    this.#control = blocks.vcpus[index];
    this.driveIrq = (gsi, asserted) => vm.irqLine(gsi, asserted);
    this.replacePit = (replaced) => vm.replacePit(replaced);
    this.power = {
      off: () => this.#end({ reason: "poweroff" }),
      reset: () => this.#end({ reason: "reset" }),
      exit: (status) => this.#end({ reason: "exit", status }),
    };
    this.shadow = shadow;
    this.boardMemory = wires.boardMemory;
    this.messages = messagesTo(vm);
    this.moved = {
      settle() {
        blocks.generation.bump();
        reconcile();
      },
    };
  }

  pulse(gsi: number): IrqPulse {
    const { vm } = this.#wires;
    return { pulse: () => vm.pulseIrqLine(gsi) };
  }

  sink(part: string): ByteSink {
    const announce = () => this.#wires.post({ kind: "output", part });
    return new ConsoleSink(this.#wires.blocks.parts.addRing(part), this.#control, announce);
  }

  ready(part: string): Signal {
    return { raise: () => this.#wires.post({ kind: "ready", part }) };
  }

  notify(_part: string): ReturnType<Ports["notify"]> {
    return { notify: () => this.#wires.ioWake.signal() };
  }

  settle(settled: () => boolean): AfterWrite {
    const { ioWake, blocks } = this.#wires;
    return {
      settle: () => {
        ioWake.signal();
        blocks.io.waitSettled(settled);
      },
    };
  }

  ram(): GuestRamPorts {
    return this.#wires.ram();
  }

  /** The io thread collects acknowledgements. */
  latch(): undefined {}

  counters(part: string, fields: readonly string[]): Float64Array {
    return this.#wires.blocks.parts.addCounters(part, fields);
  }

  own(index: number): IoDevice {
    const { blocks, index: vcpu, post } = this.#wires;
    return new OwnDevice(blocks.mailboxes[vcpu], index, () => post({ kind: "device", index: vcpu }));
  }

  #end(ending: Ending): void {
    this.ending ??= ending;
    this.#control.request(PARK);
  }
}

/** Bytes for the program. If the ring is full, the guest waits until the reader catches up. */
class ConsoleSink implements ByteSink {
  readonly #ring: ByteRing;
  readonly #control: Control;
  readonly #announce: () => void;

  constructor(ring: ByteRing, control: Control, announce: () => void) {
    this.#ring = ring;
    this.#control = control;
    this.#announce = announce;
  }

  put(byte: number): void {
    while (!this.#ring.put(byte)) {
      if (this.#control.requested === END) return;
      this.#ring.waitForRoom(ROOM_CHECK_MS);
    }
    if (this.#ring.takeArmed()) this.#announce();
  }
}
