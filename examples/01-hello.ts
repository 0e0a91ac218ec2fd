/**
 * The smallest virtual machine: thirteen bytes of program, one CPU, 64 KiB.
 *
 * A virtual machine needs four things from the kernel: KVM itself, a VM, memory
 * for the VM, and a CPU. The program that owns them runs the CPU in a loop: the
 * guest computes at full speed until it does something that only this program
 * can answer. Then `run` returns with the reason.
 *
 *   npx tsc -b && node build/tools/examples/01-hello.js
 */
import { GuestRam, KVM_EXIT_HLT, KVM_EXIT_IO, Kvm } from "vmexit/kvm";

const CODE = 0x1000; // the address of the guest's program in its memory
const TEXT = 0x1100;
const DEBUG_PORT = 0xe9; // by convention, bytes written to this port are text for a human

// Real-mode x86, in which a CPU is after power-on: 16-bit registers, no protection.
const program = [
  [0xbe, 0x00, 0x11], //       mov si, 0x1100      the address of the text
  [0xac], //             next: lodsb               al = the byte at si; si = si + 1
  [0x84, 0xc0], //             test al, al         is it the zero at the end?
  [0x74, 0x04], //             jz done
  [0xe6, DEBUG_PORT], //       out 0xe9, al        this exits
  [0xeb, 0xf7], //             jmp next
  [0xf4], //             done: hlt                 the end
].flat();

using kvm = Kvm.open();
using vm = kvm.createVm();

// Memory that this program and the guest share.
using ram = GuestRam.create(64 * 1024);
vm.setUserMemoryRegion({ slot: 0, address: 0, ram });
const memory = new Uint8Array(ram.map(0, ram.size));
memory.set(program, CODE);
memory.set(new TextEncoder().encode("Hello from the guest!\n\0"), TEXT);

// A CPU starts at the top of 4 GiB, where a PC has its firmware. Ours starts at the program.
using cpu = vm.createVcpu(0);
cpu.changeSregs({ cs: { selector: 0, base: 0 } });
cpu.changeRegs({ rip: CODE, rflags: 2 }); // bit 1 of the flags is always set

for (;;) {
  const reason = cpu.run();
  if (reason === KVM_EXIT_HLT) break;
  if (reason !== KVM_EXIT_IO) throw new Error(`the guest stopped with exit reason ${reason}`);
  const { io } = cpu.exit;
  if (io.isWrite && io.port === DEBUG_PORT) process.stdout.write(String.fromCharCode(io.get(0)));
}
