/** What every thread of a machine does with its ThreadData: attaches the shared objects and assembles its own copy. */
import { Arena } from "../base/arena.ts";
import { type RegisteredSlot, Vm } from "../kvm/vm.ts";
import type { Board } from "../machine/board.ts";
import { type AccessCounts, Machine } from "../machine/machine.ts";
import type { Ports } from "../machine/ports.ts";
import { shadowsOf } from "../machine/shadow.ts";
import { DirtyMap } from "../memory/dirty-map.ts";
import { EventFd } from "../sys/event.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import { type Blocks, blocks } from "./blocks.ts";
import { KernelSide } from "./kernel-side.ts";
import type { ThreadData } from "./shared.ts";

/** The handles that the thread uses. */
export interface PluggedInto {
  readonly vm: Vm;
  readonly ram: GuestRam;
  /** By name, RAM first, in the same order in every thread. */
  readonly memories: ReadonlyMap<string, GuestRam>;
  /** Wakes the io thread. */
  readonly ioWake: EventFd;
  /** Event `bell` of the machine: see Slot.bells. */
  bell(bell: number): EventFd;
}

export class Plugged {
  readonly blocks: Blocks;
  readonly shadow: Ports["shadow"];
  readonly boardMemory: Ports["boardMemory"];
  /** Pages of RAM that were not written by the guest itself. */
  readonly dirty: DirtyMap;
  readonly #board: Board;
  readonly #data: Omit<ThreadData, "role">;
  readonly #kernel: KernelSide;

  constructor(board: Board, data: Omit<ThreadData, "role">, into: PluggedInto) {
    this.#board = board;
    this.#data = data;
    this.blocks = blocks(data.threads, data.spec.cpus);
    this.shadow = shadowsOf(board, data.spec, into.memories);
    this.boardMemory = (name) => {
      const memory = into.memories.get(name);
      return memory && new Uint8Array(memory.map(0, memory.size));
    };
    this.dirty = new DirtyMap(data.dirty);
    this.#kernel = new KernelSide(into, this.blocks.kernel, this.dirty);
  }

  assemble(ports: Ports, counts: AccessCounts): Machine {
    const { spec, state } = this.#data;
    return new Machine(this.#board, spec, new Arena(state), ports, counts, this.blocks.generation);
  }

  /** Makes KVM's objects match the machine's registers. */
  reconcile(machine: Machine): void {
    this.#kernel.reconcile(machine);
  }

  /** Switches KVM's log of written RAM pages on or off. */
  logDirtyPages(machine: Machine, on: boolean): void {
    this.#kernel.logDirtyPages(machine, on);
  }

  /** The memory slots that KVM has. */
  get slots(): readonly RegisteredSlot[] {
    return this.#kernel.slots;
  }
}

/** The handles of one machine, on a thread that got their tokens. */
export function attach(data: ThreadData): PluggedInto & { close(): void } {
  const events = new Map<number, EventFd>();
  const vm = Vm.attach(data.vm);
  const ram = GuestRam.attach(data.ram);
  const memories = new Map(data.memories.map(({ name, token }) => [name, GuestRam.attach(token)]));
  const ioWake = EventFd.attach(data.ioWake);
  return {
    vm,
    ram,
    memories,
    ioWake,
    bell(bell) {
      const event = events.get(bell) ?? EventFd.attach(data.bells[bell]);
      events.set(bell, event);
      return event;
    },
    close() {
      for (const handle of [vm, ram, ...memories.values(), ioWake, ...events.values()]) handle.close();
    },
  };
}
