/**
 * What a machine is plugged into on a vCPU thread: every wire ends in a
 * descriptor or in shared memory, so that nothing here waits for another
 * thread's JavaScript, with three exceptions that must wait: a full console
 * ring, a device of the program's own, and queues that are taken away.
 */
import type { ByteRing } from "../base/ring.ts";
import type { AfterWrite, ByteSink, IoDevice, IrqPulse, PowerSwitch, Signal } from "../bus/io.ts";
import type { DriveIrq } from "../bus/irq.ts";
import type { Vm } from "../kvm/vm.ts";
import { type Clock, hostClock } from "../machine/clock.ts";
import type { Host } from "../machine/host.ts";
import type { EventFd } from "../sys/event.ts";
import type { NotifyQueue } from "../virtio/transport/mmio.ts";
import type { Blocks } from "./blocks.ts";
import { type Control, END, PARK } from "./control.ts";
import { OwnDevice } from "./mailbox.ts";
import type { Ending, Message } from "./shared.ts";
import { virtioInterrupt } from "./virtio-interrupt.ts";

/** How often a vCPU that waits for a lagging reader looks whether the machine is ending. */
const ROOM_CHECK_MS = 50;

export interface VcpuWires {
  readonly index: number;
  readonly vm: Vm;
  readonly blocks: Blocks;
  /** Wakes the io thread. */
  readonly ioWake: EventFd | undefined;
  readonly registerPage: (slot: number) => Uint32Array | undefined;
  readonly post: (message: Message) => void;
  /** Whether the io thread has let go of the queues of virtio device `slot`. */
  readonly queuesSettled: (slot: number) => boolean;
}

export class VcpuHost implements Host {
  readonly clock: Clock = hostClock;
  readonly power: PowerSwitch;
  readonly driveIrq: DriveIrq;
  readonly #wires: VcpuWires;
  readonly #control: Control;
  /** Set when this vCPU ended or reset the machine. */
  ending: Ending | undefined;

  constructor(wires: VcpuWires) {
    this.#wires = wires;
    this.#control = wires.blocks.vcpus[wires.index];
    this.driveIrq = (gsi, asserted) => wires.vm.irqLine(gsi, asserted);
    this.power = {
      off: () => this.#end({ reason: "poweroff" }),
      reset: () => this.#end({ reason: "reset" }),
      exit: (status) => this.#end({ reason: "exit", status }),
    };
  }

  console(port: number): ByteSink {
    const tell = () => this.#wires.post({ kind: "console", port });
    return new ConsoleSink(this.#wires.blocks.rings[port], this.#control, tell);
  }

  receiverReady(port: number): Signal {
    return { raise: () => this.#wires.post({ kind: "receiver", port }) };
  }

  interrupt(slot: number): IrqPulse {
    return virtioInterrupt(this.#wires.vm, slot);
  }

  notify(_slot: number): NotifyQueue {
    return { notify: () => this.#wires.ioWake?.signal() };
  }

  queuesReset(slot: number): AfterWrite {
    return {
      settle: () => {
        this.#wires.ioWake?.signal();
        this.#wires.blocks.io.waitSettled(() => this.#wires.queuesSettled(slot));
      },
    };
  }

  registerPage(slot: number): Uint32Array | undefined {
    return this.#wires.registerPage(slot);
  }

  ownDevice(index: number): IoDevice {
    const mailbox = this.#wires.blocks.mailboxes[this.#wires.index];
    return new OwnDevice(mailbox, index, () =>
      this.#wires.post({ kind: "device", index: this.#wires.index }),
    );
  }

  #end(ending: Ending): void {
    this.ending ??= ending;
    this.#control.request(PARK);
  }
}

/** Bytes for the program. A full ring holds the guest until the reader catches up. */
class ConsoleSink implements ByteSink {
  readonly #ring: ByteRing;
  readonly #control: Control;
  readonly #tell: () => void;

  constructor(ring: ByteRing, control: Control, tell: () => void) {
    this.#ring = ring;
    this.#control = control;
    this.#tell = tell;
  }

  put(byte: number): void {
    while (!this.#ring.put(byte)) {
      if (this.#control.requested === END) return;
      this.#ring.waitForRoom(ROOM_CHECK_MS);
    }
    if (this.#ring.takeArmed()) this.#tell();
  }
}
