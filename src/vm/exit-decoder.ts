/** Turns the records of a trace ring into the objects of a trace. */
import type { AddressSpace } from "../bus/address-space.ts";
import { exitName } from "../kvm/exit.ts";
import { NO_DIRECTION, TO_DEVICE, type TraceReader } from "../threads/trace-ring.ts";
import {
  CPU_MODES,
  type ExitRecord,
  type Hex,
  REGISTER_NAMES,
  type TraceRegisters,
} from "../trace/format.ts";

/** The address spaces of a machine: which device is at which address. */
export interface Spaces {
  readonly ports: AddressSpace;
  readonly memory: AddressSpace;
}

/** The record that `reader` looks at. Its `t` is in ns of CLOCK_MONOTONIC, its `seq` 0. */
export function decodeExit(reader: TraceReader, vcpu: number, spaces: Spaces): ExitRecord {
  const reason = exitName(reader.reason);
  return {
    kind: "exit",
    seq: 0,
    vcpu,
    t: reader.time,
    reason,
    rip: hex(reader.rip),
    mode: CPU_MODES[reader.mode],
    ...(reader.direction === NO_DIRECTION ? {} : access(reader, reason === "IO", spaces)),
    outside: reader.outside,
    inside: reader.inside,
    ...(reader.hasState ? state(reader) : {}),
  };
}

function access(reader: TraceReader, isIo: boolean, { ports, memory }: Spaces): Partial<ExitRecord> {
  const { address, size, count, kept: data } = reader;
  const toDevice = reader.direction === TO_DEVICE;
  const kept = size === 0 ? 0 : Math.min(count, Math.floor(data.length / size));
  const rest = {
    size,
    count,
    values: Array.from({ length: kept }, (_, i) => elementAt(data, i * size, size)),
  };
  return isIo
    ? { direction: toDevice ? "out" : "in", port: address, ...rest, device: owner(ports, address) }
    : { direction: toDevice ? "write" : "read", address, ...rest, device: owner(memory, address) };
}

function owner(space: AddressSpace, address: number): string {
  return space.find(address)?.name ?? "unclaimed";
}

/** Little-endian; as a number up to 4 bytes. */
function elementAt(data: Uint8Array, at: number, size: number): number | Hex {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[at + i]);
  return size <= 4 ? Number(value) : hex(value);
}

function state(reader: TraceReader): Pick<ExitRecord, "regs" | "code" | "before"> {
  const regs = registers((index) => hex(reader.register(index)));
  const [code, before] = [reader.code, reader.before].map((bytes) => Buffer.from(bytes).toString("hex"));
  return { regs, ...(code === "" ? {} : { code }), ...(before === "" ? {} : { before }) };
}

/** @param at the value of a register by its index in REGISTER_NAMES, the order in which they are copied */
function registers(at: (index: number) => Hex): TraceRegisters {
  const value = (name: keyof TraceRegisters) => at(REGISTER_NAMES.indexOf(name));
  return {
    ...{ rax: value("rax"), rbx: value("rbx"), rcx: value("rcx"), rdx: value("rdx") },
    ...{ rsi: value("rsi"), rdi: value("rdi"), rsp: value("rsp"), rbp: value("rbp") },
    ...{ r8: value("r8"), r9: value("r9"), r10: value("r10"), r11: value("r11") },
    ...{ r12: value("r12"), r13: value("r13"), r14: value("r14"), r15: value("r15") },
    ...{ rip: value("rip"), rflags: value("rflags"), cs: value("cs"), ss: value("ss") },
    ...{ cr0: value("cr0"), cr2: value("cr2"), cr3: value("cr3"), cr4: value("cr4"), efer: value("efer") },
  };
}

function hex(value: bigint): Hex {
  return `0x${value.toString(16)}`;
}
