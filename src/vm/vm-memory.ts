/**
 * Guest-physical memory of a machine, for programs that look at their guest.
 */
import type { RegisteredSlot } from "../kvm/vm.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type MemoryTree, memoryTree } from "./memory-tree.ts";

/** What the present power cycle provides. */
export interface MemoryParts {
  readonly memory: GuestMemory;
  /** Marks what is written to RAM. */
  readonly dirty: DirtySink;
  readonly slots: readonly RegisteredSlot[];
  readonly windows: Parameters<typeof memoryTree>[1];
  /** Bytes of RAM that are backed by memory of the host. */
  resident(): number;
}

/**
 * Works from createVm to the end of the machine, also while the guest runs. A
 * running guest writes at the same time, so the bytes of one read may not all be
 * from one moment: pause the machine first where that matters. Every method
 * throws a StateError once the machine has ended. A reset replaces all memory.
 */
export class VmMemory {
  readonly #parts: (doing: string) => MemoryParts;

  constructor(parts: (doing: string) => MemoryParts) {
    this.#parts = parts;
  }

  /** Bytes of RAM that the guest has. */
  get size(): number {
    return this.#parts("memory.size").memory.size;
  }

  /**
   * A copy of `length` bytes of RAM from guest-physical `address` on.
   * @throws {RangeError} unless all of it is RAM, in one piece.
   */
  read(address: number, length: number): Uint8Array {
    const { memory } = this.#parts("memory.read");
    checkWhole(address, length);
    return memory.read(address, length);
  }

  /** @throws {RangeError} unless all of it is RAM, in one piece; nothing is written then. */
  write(address: number, bytes: Uint8Array): void {
    const { memory, dirty } = this.#parts("memory.write");
    checkWhole(address, bytes.length);
    memory.write(address, bytes);
    dirty.mark(memory.translate(address, bytes.length), bytes.length);
  }

  /** The memory map: RAM, ROM and devices. */
  tree(): MemoryTree {
    const { slots, windows } = this.#parts("memory.tree");
    return memoryTree(slots, windows);
  }

  /** The memory slots, with the arguments of KVM_SET_USER_MEMORY_REGION. */
  slots(): readonly RegisteredSlot[] {
    return this.#parts("memory.slots").slots;
  }

  /**
   * Bytes of guest RAM that are backed by memory of the host. All RAM is mapped at
   * once, but the host allocates a page, or 2 MiB, only when it is first touched.
   * @see mincore(2)
   */
  resident(): number {
    return this.#parts("memory.resident").resident();
  }
}

function checkWhole(address: number, length: number): void {
  if (Number.isSafeInteger(address) && Number.isSafeInteger(length)) return;
  throw new RangeError(`${length} bytes at ${address}: both have to be whole numbers`);
}
