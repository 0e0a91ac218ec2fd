/** An exit in words. Knows no browser. */
import type { Access, Step } from "../src/report-data.ts";
import { count, hex } from "./quantities.ts";

const OTHER_STORIES: Readonly<Record<string, string>> = {
  HLT: "The guest halted. It waits for an interrupt, and there is no interrupt controller in the kernel.",
  SHUTDOWN: "The guest shut down: a triple fault, for example.",
  INTR: "A signal made KVM_RUN return: another thread kicked the vCPU.",
  HYPERCALL: "The guest called its hypervisor.",
  DEBUG: "A breakpoint or a single step.",
  SYSTEM_EVENT: "The guest requested a reset or a shutdown, in a way that KVM handles.",
  FAIL_ENTRY: "The CPU refused to enter the guest, because its state is invalid.",
  INTERNAL_ERROR: "KVM could not continue, usually because of an instruction that it cannot emulate.",
};

/** Registers whose bytes are characters; in other named registers a byte is a set of bits. */
const CHARACTERS = ["THR", "RBR"];

/** "out 0x3f8 ← 0x48 ‘H’"; undefined for an exit without an access. */
export function accessLine(step: Step): string | undefined {
  const { access } = step;
  if (access === undefined) return undefined;
  const { direction, address, values, size } = access;
  const place = `${direction} ${hex(address)}`;
  if (values.length === 0) return place;
  const more = access.count > 1 ? ` … ×${count(access.count)}` : "";
  return `${place} ${isWrite(access) ? "←" : "→"} ${valueText(values[0], size)}${character(step)}${more}`;
}

/** An explanation for somebody who sees such an exit for the first time. */
export function story(step: Step, reason: string): string {
  const { access, device, register } = step;
  if (access === undefined) return OTHER_STORIES[reason] ?? `KVM_RUN returned with KVM_EXIT_${reason}.`;
  const bytes = access.size === 1 ? "1 byte" : `${access.size} bytes`;
  const place = `${access.space === "port" ? "port" : "address"} ${hex(access.address)}`;
  const where = `${place} (${access.count > 1 ? `${count(access.count)} times ` : ""}${bytes})`;
  const values = valueList(access) + (access.count === 1 ? character(step) : "");
  const chip = device === "unclaimed" ? undefined : device;
  const part = register === undefined ? "" : `, register ${register}`;
  if (isWrite(access)) {
    const took =
      chip === undefined ? "There is no device, so the write is lost." : `It went to ${chip}${part}.`;
    return `The guest wrote ${values} to ${where}. ${took}`;
  }
  const answered =
    chip === undefined ? `There is no device, so it got ${values}.` : `${chip}${part}, answered ${values}.`;
  return `The guest read ${where}. ${answered}`;
}

function isWrite({ direction }: Access): boolean {
  return direction === "out" || direction === "write";
}

function valueList({ values, size, count: elements }: Access): string {
  if (values.length === 0) return "a value that is not in the trace";
  const shown = values.map((value) => valueText(value, size)).join(", ");
  return elements > values.length ? `${shown}, …` : shown;
}

function valueText(value: number | string, size: number): string {
  return typeof value === "string" ? value : hex(value, Math.min(2 * size, 16));
}

/** The first byte as text, if it is a character. */
function character({ access, device, register }: Step): string {
  const value = access?.values[0];
  if (device === "unclaimed") return "";
  if (access?.size !== 1 || typeof value !== "number") return "";
  if (register !== undefined && !CHARACTERS.includes(register)) return "";
  if (value === 0x0a) return " ‘\\n’";
  if (value === 0x0d) return " ‘\\r’";
  return value >= 0x20 && value < 0x7f ? ` ‘${String.fromCharCode(value)}’` : "";
}
