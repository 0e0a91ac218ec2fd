/**
 * Breakpoints and watchpoints in the CPU's debug registers, the same in every
 * CPU. Pure: a table and the value of DR7.
 *
 * Source: Intel SDM volume 3, 17.2 "Debug Registers". There are four, each for
 * 1, 2, 4 or 8 bytes at a multiple of their number; a longer or unaligned
 * watchpoint needs several. The CPU stops before a breakpoint's instruction
 * and after a watchpoint's. It cannot watch for reads only.
 */
import type { GuestDebug } from "../kvm/vcpu.ts";

const REGISTERS = 4;

/** "execute" has length 1. */
export type Condition = "execute" | "write" | "access";

/** R/Wn of DR7. */
const READ_WRITE: Readonly<Record<Condition, bigint>> = { execute: 0n, write: 1n, access: 3n };
/** LENn of DR7, by length. */
const LENGTH: Readonly<Record<number, bigint>> = { 1: 0n, 2: 1n, 4: 3n, 8: 2n };
/** GE and the bit that is always set. */
const DR7_FIXED = 0x600n;

export interface Watched {
  readonly condition: Condition;
  /** As gdb requested it. */
  readonly address: bigint;
  readonly length: number;
}

interface Register {
  readonly address: bigint;
  readonly length: number;
  readonly for: Watched;
}

export class HardwareBreakpoints {
  /** By number of the debug register. */
  readonly #registers: (Register | undefined)[] = Array.from({ length: REGISTERS });

  /** False if there are not enough registers. A second insertion has no effect. */
  insert(watched: Watched): boolean {
    if (this.#registers.some((register) => register !== undefined && isSame(register.for, watched)))
      return true;
    const free = [...this.#registers.keys()].filter((n) => this.#registers[n] === undefined);
    const pieces = piecesOf(watched);
    if (pieces === undefined || pieces.length > free.length) return false;
    pieces.forEach((piece, i) => {
      this.#registers[free[i]] = { ...piece, for: watched };
    });
    return true;
  }

  remove(watched: Watched): void {
    for (const [n, register] of this.#registers.entries()) {
      if (register !== undefined && isSame(register.for, watched)) this.#registers[n] = undefined;
    }
  }

  removeAll(): void {
    this.#registers.fill(undefined);
  }

  /** DR0 to DR3 and DR7; undefined if there is nothing to watch. */
  get hardware(): GuestDebug["hardware"] {
    if (this.#registers.every((register) => register === undefined)) return undefined;
    let dr7 = DR7_FIXED;
    this.#registers.forEach((register, n) => {
      if (register === undefined) return;
      const control = READ_WRITE[register.for.condition] | (LENGTH[register.length] << 2n);
      dr7 |= (2n << BigInt(2 * n)) | (control << BigInt(16 + 4 * n)); // Gn; R/Wn and LENn
    });
    return { addresses: this.#registers.map((register) => register?.address ?? 0n), dr7 };
  }

  /** The cause that bits B0 to B3 of DR6 report; a watchpoint before a breakpoint. */
  hit(dr6: bigint): Watched | undefined {
    const hits = this.#registers.filter((_, n) => dr6 & (1n << BigInt(n))).flatMap((each) => each?.for ?? []);
    return hits.find(({ condition }) => condition !== "execute") ?? hits[0];
  }
}

function isSame(a: Watched, b: Watched): boolean {
  return a.condition === b.condition && a.address === b.address && a.length === b.length;
}

/** Aligned pieces that cover the range; undefined if there are too many. */
function piecesOf({
  condition,
  address,
  length,
}: Watched): { address: bigint; length: number }[] | undefined {
  if (condition === "execute") return [{ address, length: 1 }];
  const pieces: { address: bigint; length: number }[] = [];
  for (let done = 0; done < length; ) {
    if (pieces.length === REGISTERS) return undefined;
    const at = BigInt.asUintN(64, address + BigInt(done));
    const piece = [8, 4, 2].find((size) => at % BigInt(size) === 0n && size <= length - done) ?? 1;
    pieces.push({ address: at, length: piece });
    done += piece;
  }
  return pieces.length === 0 ? undefined : pieces;
}
