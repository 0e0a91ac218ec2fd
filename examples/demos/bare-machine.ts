/**
 * The smallest machine that runs a guest: RAM at address 0 with the guest in it,
 * and one CPU in real mode at the guest's first instruction. hello.ts does the
 * same by hand, line by line.
 */
import { GuestRam, Kvm, type Vcpu, type Vm } from "vmexit/kvm";
import type { Guest } from "./guest.ts";

/** Three free pages below 4 GiB, which KVM needs for real mode on older Intel processors. */
const TSS_ADDRESS = 0xfffb_d000;

export interface BareMachine extends Disposable {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly ram: GuestRam;
  /** All of the guest's RAM, from address 0; the guest sees every change. */
  readonly memory: Uint8Array;
  readonly cpu: Vcpu;
}

export interface BareMachineOptions {
  /** Bytes of RAM from address 0, a multiple of 4096. By default 64 KiB, what real mode reaches without segments. */
  readonly ramSize?: number;
  /** Makes KVM's PIC, I/O APIC and local APIC. HLT then waits in the kernel and is not an exit. */
  readonly irqchip?: boolean;
}

export function bareMachine(guest: Guest, options: BareMachineOptions = {}): BareMachine {
  const kvm = Kvm.open();
  const vm = kvm.createVm();
  vm.setTssAddr(TSS_ADDRESS);
  if (options.irqchip) vm.createIrqchip();
  const ram = GuestRam.create(options.ramSize ?? 64 * 1024);
  vm.setUserMemoryRegion({ slot: 0, address: 0, ram });
  const memory = new Uint8Array(ram.map(0, ram.size));
  memory.set(guest.bytes, guest.origin);
  const cpu = vm.createVcpu(0);
  startAt(cpu, guest.entry);
  const dispose = () => {
    for (const each of [cpu, vm, ram, kvm]) each.close();
  };
  return { kvm, vm, ram, memory, cpu, [Symbol.dispose]: dispose };
}

/** Puts a CPU that is in real mode at `address`, below 64 KiB, with its stack below 0x1000. */
export function startAt(cpu: Vcpu, address: number): void {
  // After power-on CS is at 0xffff0000, where a PC has its firmware.
  cpu.changeSregs({ cs: { selector: 0, base: 0 } });
  cpu.changeRegs({ rip: address, rsp: 0x1000, rflags: 2 }); // bit 1 of the flags is always set
}
