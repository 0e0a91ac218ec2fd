/**
 * Breakpoints in the guest's code: an INT3 in place of an instruction's first byte,
 * which makes KVM_RUN return (KVM_GUESTDBG_USE_SW_BP).
 *
 * They are patches of physical memory. A program that shares the page hits them too,
 * and a guest that reads its own code sees them; gdb does not.
 */
import type { DebugTarget } from "./target.ts";

const INT3 = 0xcc;

interface Patch {
  readonly physical: number;
  /** The guest's own byte. */
  original: number;
}

export class SoftwareBreakpoints {
  readonly #target: DebugTarget;
  /** By linear address, as gdb names them. */
  readonly #patches = new Map<bigint, Patch>();

  constructor(target: DebugTarget) {
    this.#target = target;
  }

  get any(): boolean {
    return this.#patches.size > 0;
  }

  has(address: bigint): boolean {
    return this.#patches.has(address);
  }

  /** Whether the INT3 at that address is ours, under any address: paging may have been enabled since. */
  isOurs(cpu: number, address: bigint): boolean {
    if (this.#patches.has(address)) return true;
    const physical = this.#target.translate(cpu, address);
    return [...this.#patches.values()].some((patch) => patch.physical === physical);
  }

  /** False if there is no memory at that address. A second insertion has no effect. */
  insert(cpu: number, address: bigint): boolean {
    if (this.#patches.has(address)) return true;
    const physical = this.#target.translate(cpu, address);
    const bytes = physical === undefined ? undefined : this.#target.readMemory(physical, 1);
    if (physical === undefined || bytes === undefined) return false;
    this.hide(physical, bytes); // another linear address may map the same byte
    if (!this.#target.writeMemory(physical, Uint8Array.of(INT3))) return false;
    this.#patches.set(address, { physical, original: bytes[0] });
    return true;
  }

  remove(address: bigint): void {
    const patch = this.#patches.get(address);
    if (patch === undefined) return;
    this.#patches.delete(address);
    const { physical, original } = patch;
    if ([...this.#patches.values()].some((other) => other.physical === physical)) return;
    // A byte that the guest has written there since is not restored.
    if (this.#target.readMemory(physical, 1)?.[0] !== INT3) return;
    this.#target.writeMemory(physical, Uint8Array.of(original));
  }

  removeAll(): void {
    for (const address of [...this.#patches.keys()]) this.remove(address);
  }

  /** After a reset: the patched memory does not exist any more. */
  forget(): void {
    this.#patches.clear();
  }

  /** Puts the guest's own bytes in place of ours in a copy of its memory. */
  hide(physical: number, copy: Uint8Array): void {
    for (const patch of this.#patches.values()) {
      const at = patch.physical - physical;
      if (at >= 0 && at < copy.length && copy[at] === INT3) copy[at] = patch.original;
    }
  }

  /** Puts the breakpoints into bytes that will overwrite them. */
  keep(physical: number, bytes: Uint8Array): void {
    for (const patch of this.#patches.values()) {
      const at = patch.physical - physical;
      if (at < 0 || at >= bytes.length) continue;
      patch.original = bytes[at];
    }
    for (const patch of this.#patches.values()) {
      const at = patch.physical - physical;
      if (at >= 0 && at < bytes.length) bytes[at] = INT3;
    }
  }
}
