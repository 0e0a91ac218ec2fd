/**
 * Breakpoints and watchpoints as gdb asks for them, Z and z, in whichever way
 * this host's KVM really stops at them.
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
  undefined, // reads alone: empty, whereupon gdb makes do with both
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

  /** Z: "TYPE,ADDRESS,KIND", the kind of a watchpoint being its length. Returns the answer. */
  insert(cpu: number, text: string): string {
    const point = parsePoint(text);
    if (typeof point === "string") return point;
    const { int3, breakpoints, watchpoints } = this.#target.abilities;
    if (point.inSoftware && int3) return this.software.insert(cpu, point.address) ? OK : EFAULT;
    // A debug register serves where an INT3 would be the guest's own; gdb need not know.
    if (point.condition === "execute" ? !breakpoints : !watchpoints) {
      return `E.this host's KVM does not stop at ${point.inSoftware ? "INT3 or" : "what is in"} debug registers`;
    }
    return this.hardware.insert(point) ? OK : ENOSPC;
  }

  /** z. Removing what is not there is no error. */
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

  /** What every CPU that runs has to be told. */
  get debug(): GuestDebug {
    const { hardware } = this.hardware;
    return { softwareBreakpoints: this.software.any, ...(hardware === undefined ? {} : { hardware }) };
  }
}

/** A breakpoint or watchpoint, or the answer to what is none. */
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
