/**
 * The exit loop of src/threads/vcpu-loop.ts without tracing, for comparison: port
 * accesses only.
 */
import type { Vcpu } from "vmexit/kvm";

type AddressSpace = import("../../src/bus/address-space.ts").AddressSpace;
type IoExit = import("../../src/kvm/exit.ts").IoExit;
type VcpuCounters = import("../../src/threads/blocks.ts").VcpuCounters;
type Control = import("../../src/threads/control.ts").Control;

const KVM_EXIT_IO = 2;
const INTERRUPTED = -4;

export function runUntraced(vcpu: Vcpu, ports: AddressSpace, control: Control, counters: VcpuCounters): void {
  const { exits, interrupted } = counters;
  while (control.running) {
    const reason = vcpu.run();
    if (reason === INTERRUPTED) {
      interrupted[0]++;
      continue;
    }
    exits[reason]++;
    if (reason !== KVM_EXIT_IO) throw new Error(`the guest exited for reason ${reason}`);
    servePorts(vcpu.exit.io, ports);
  }
  for (;;) {
    const reason = vcpu.completeExit();
    if (reason === INTERRUPTED) return;
    exits[reason]++;
    if (reason !== KVM_EXIT_IO) throw new Error(`the guest exited for reason ${reason}`);
    servePorts(vcpu.exit.io, ports);
  }
}

function servePorts(io: IoExit, ports: AddressSpace): void {
  const { port, size, count } = io;
  if (io.isWrite) {
    for (let i = 0; i < count; i++) ports.write(port, size, io.get(i));
  } else {
    for (let i = 0; i < count; i++) io.put(i, ports.read(port, size));
  }
}
