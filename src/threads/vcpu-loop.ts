/**
 * The loop of a vCPU: runs the guest by KVM_RUN and sends each exit to its device.
 *
 * Source: Linux Documentation/virt/kvm/api.rst, section 5 (The kvm_run
 * structure).
 */
import type { AddressSpace } from "../bus/address-space.ts";
import * as abi from "../kvm/abi.ts";
import { type Exit, INTERRUPTED, type IoExit, type MmioExit } from "../kvm/exit.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { VcpuCounters } from "./blocks.ts";
import { describeFailure } from "./failure.ts";
import type { Ending } from "./shared.ts";

/** Whether the loop goes on; asked before each KVM_RUN. A Control is one. */
export interface LoopGate {
  readonly running: boolean;
  readonly tracing: boolean;
}

/** A debugger wants the vCPU to stop here: `vcpu.exit` says why. */
export const DEBUG = "debug";

/**
 * Runs the guest until the thread is asked to do something else (undefined), the
 * guest meets a breakpoint of a debugger, or it ends in a way that only this vCPU
 * knows. The vCPU is then between two instructions, unless the guest crashed.
 */
export function runVcpu(
  vcpu: Vcpu,
  ports: AddressSpace,
  memory: AddressSpace,
  gate: Pick<LoopGate, "running">,
  counters: VcpuCounters,
): Ending | typeof DEBUG | undefined {
  const { exits, interrupted } = counters;
  while (gate.running) {
    const reason = vcpu.run();
    if (reason === INTERRUPTED) {
      interrupted[0]++; // a kick: check what is requested
      continue;
    }
    exits[reason]++;
    const ending = serve(vcpu, reason, ports, memory);
    if (ending !== undefined) return ending;
  }
  // The next KVM_RUN writes the device's answer to the guest's registers. One instruction
  // may need several answers: `rep insb`, a load across two pages.
  for (;;) {
    const reason = vcpu.completeExit();
    if (reason === INTERRUPTED) return undefined;
    exits[reason]++;
    const ending = serve(vcpu, reason, ports, memory);
    if (ending !== undefined) return ending;
  }
}

/** Answers one exit. If it ends the loop, returns the result of runVcpu. */
export function serve(
  vcpu: Vcpu,
  reason: number,
  ports: AddressSpace,
  memory: AddressSpace,
): Ending | typeof DEBUG | undefined {
  switch (reason) {
    case abi.KVM_EXIT_IO:
      servePorts(vcpu.exit.io, ports);
      return undefined;
    case abi.KVM_EXIT_MMIO:
      serveMemory(vcpu.exit.mmio, memory);
      return undefined;
    case abi.KVM_EXIT_INTR:
    case abi.KVM_EXIT_IRQ_WINDOW_OPEN:
      return undefined;
    case abi.KVM_EXIT_DEBUG:
      return DEBUG;
    case abi.KVM_EXIT_SYSTEM_EVENT:
      return systemEvent(vcpu.exit);
    case abi.KVM_EXIT_INTERNAL_ERROR:
      if (refusesDelivery(vcpu, reason)) return repeatDelivery(vcpu, ports, memory);
      return { reason: "crash", message: describeFailure(vcpu, reason) };
    default:
      return { reason: "crash", message: describeFailure(vcpu, reason) };
  }
}

/** After so many refusals in a row, the error is reported. */
const REFUSALS = 100;

/**
 * KVM refuses to emulate an MMIO access that belongs to the delivery of an event, such as an exception whose
 * stack is in a device's window. RIP does not change and KVM keeps the event, so every retry is refused too.
 *
 * But since Linux 6.14, KVM for AMD treats any type in EXITINTINFO as such a delivery, even if the field is not
 * valid (svm_check_emulate_instruction). QEMU's emulated AMD-V (7.2 to 11.1) leaves there the type of the last
 * exception that the guest took, although its delivery is complete. The exit clears the field, so a retry
 * succeeds, unless the guest takes another exception first: an interrupt may come before the access.
 */
function repeatDelivery(
  vcpu: Vcpu,
  ports: AddressSpace,
  memory: AddressSpace,
): Ending | typeof DEBUG | undefined {
  for (let refusals = 1; ; refusals++) {
    const reason = vcpu.run();
    if (reason === INTERRUPTED) return undefined; // a kick: the loop checks what is requested, and enters again
    if (!refusesDelivery(vcpu, reason)) return serve(vcpu, reason, ports, memory);
    if (refusals === REFUSALS) return { reason: "crash", message: describeFailure(vcpu, reason) };
  }
}

function refusesDelivery(vcpu: Vcpu, reason: number): boolean {
  return reason === abi.KVM_EXIT_INTERNAL_ERROR && vcpu.exit.suberror === abi.KVM_INTERNAL_ERROR_DELIVERY_EV;
}

/** `rep outsb` is one exit with `count` accesses, all to the same port. A device may serve many of them at once. */
function servePorts(io: IoExit, ports: AddressSpace): void {
  const { port, size, count, isWrite } = io;
  const first = count > 1 ? serveBlocks(io, ports) / size : 0;
  if (isWrite) {
    for (let i = first; i < count; i++) ports.write(port, size, io.get(i));
  } else {
    for (let i = first; i < count; i++) io.put(i, ports.read(port, size));
  }
}

/** How many bytes, from the first on, the device served. */
function serveBlocks(io: IoExit, ports: AddressSpace): number {
  const { port, size, isWrite, page, dataOffset, dataLength } = io;
  let done = 0;
  for (let bytes = 1; bytes > 0 && done < dataLength; done += bytes) {
    const at = dataOffset + done;
    const left = dataLength - done;
    bytes = isWrite
      ? ports.writeBlock(port, size, page, at, left)
      : ports.readBlock(port, size, page, at, left);
  }
  return done;
}

/** Devices have accesses of 1, 2 and 4 bytes. 8 bytes become two accesses, low half first; other sizes single bytes. */
function serveMemory(mmio: MmioExit, memory: AddressSpace): void {
  const { address, length } = mmio;
  const isWrite = mmio.isWrite;
  switch (length) {
    case 1:
    case 2:
    case 4:
      if (isWrite) memory.write(address, length, mmio.low);
      else mmio.low = memory.read(address, length);
      break;
    case 8:
      if (isWrite) {
        memory.write(address, 4, mmio.low);
        memory.write(address + 4, 4, mmio.high);
      } else {
        mmio.low = memory.read(address, 4);
        mmio.high = memory.read(address + 4, 4);
      }
      break;
    default:
      for (let i = 0; i < length; i++) {
        if (isWrite) memory.write(address + i, 1, mmio.get(i));
        else mmio.put(i, memory.read(address + i, 1));
      }
  }
}

/** A guest that ends by a firmware call (PSCI, SBI, Hyper-V's crash MSRs) rather than by a device. */
function systemEvent(exit: Exit): Ending {
  switch (exit.systemEvent) {
    case abi.KVM_SYSTEM_EVENT_SHUTDOWN:
      return { reason: "poweroff" };
    case abi.KVM_SYSTEM_EVENT_RESET:
      return { reason: "reset" };
    default:
      return {
        reason: "crash",
        message: `the guest reported a crash (KVM_SYSTEM_EVENT ${exit.systemEvent})`,
      };
  }
}
