/**
 * gdb's breakpoints and watchpoints, Z and z, in the ways in which this host's KVM
 * really stops at them.
 *
 * Source: GDB manual, Appendix E.2 "Packets" (z0 to z4).
 */
import type { GuestDebug } from "../kvm/vcpu.ts";
import { EFAULT, EINVAL, ENOSPC, OK, UNKNOWN } from "./answers.ts";
import { type Condition, HardwareBreakpoints, type Watched } from "./hardware-breakpoints.ts";
import { parseHex, parseNumber } from "./hex.ts";
import { SoftwareBreakpoints } from "./software-breakpoints.ts";
import type { DebugTarget } from "./target.ts";

/** By type. */
const CONDITIONS: readonly (Condition | "software" | undefined)[] = [
  "software",
  "execute",
  "write",
  undefined, // reads only: not supported, so gdb uses reads and writes
  "access",
];

export class Points {
  readonly software: SoftwareBreakpoints;
  readonly hardware = new HardwareBreakpoints();
  readonly #target: DebugTarget;

  constructor(target: DebugTarget) {
    this.#target = target;
    this.software = new SoftwareBreakpoints(target);
  }

  /** Z: "TYPE,ADDRESS,KIND", the kind of a watchpoint is its length. Returns the answer. */
  insert(cpu: number, text: string): string {
    const point = parsePoint(text);
    if (typeof point === "string") return point;
    const { int3, breakpoints, watchpoints } = this.#target.abilities;
    if (point.inSoftware && int3) return this.software.insert(cpu, point.address) ? OK : EFAULT;
    // A debug register is used where an INT3 would go to the guest; for gdb it is the same.
    if (point.condition === "execute" ? !breakpoints : !watchpoints) {
      return `E.this host's KVM does not stop at ${point.inSoftware ? "INT3 or" : "what is in"} debug registers`;
    }
    return this.hardware.insert(point) ? OK : ENOSPC;
  }

  /** z. Removing a point that does not exist is not an error. */
  remove(text: string): string {
    const point = parsePoint(text);
    if (typeof point === "string") return point;
    if (point.inSoftware) this.software.remove(point.address);
    this.hardware.remove(point);
    return OK;
  }

  removeAll(): void {
    this.software.removeAll();
    this.hardware.removeAll();
  }

  /** The debug settings for every CPU that runs. */
  get debug(): GuestDebug {
    const { hardware } = this.hardware;
    return { softwareBreakpoints: this.software.any, ...(hardware === undefined ? {} : { hardware }) };
  }
}

/** A breakpoint or watchpoint, or the answer to an invalid one. */
function parsePoint(text: string): (Watched & { readonly inSoftware: boolean }) | string {
  const [type, from = "", kind = ""] = text.split(";", 1)[0].split(",");
  const named = CONDITIONS[Number(type)];
  if (named === undefined) return UNKNOWN;
  const address = parseHex(from);
  const length = parseNumber(kind);
  if (address === undefined || length === undefined) return EINVAL;
  const inSoftware = named === "software";
  const condition = inSoftware ? "execute" : named;
  return { condition, address, length: condition === "execute" ? 1 : length, inSoftware };
}
