/**
 * The smallest virtual machine: real mode, one CPU, 64 KiB, one exit for each
 * character.
 *
 * A virtual machine needs four things from the kernel: KVM itself, a VM, memory
 * for the VM, and a CPU. The program that owns them runs the CPU in a loop: the
 * guest computes by itself until it does something that only this program can
 * answer. Then `run` returns with the reason.
 *
 * Guest: hello.s. Source: Linux Documentation/virt/kvm/api.rst, sections 4 and 5.
 */
import { exitName, GuestRam, KVM_EXIT_HLT, KVM_EXIT_IO, Kvm } from "vmexit/kvm";
import type { Out } from "./demos.ts";
import { Guest } from "./guest.ts";
import { character, heading, hex, table } from "./print.ts";

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("hello");

  // 1. KVM: the file /dev/kvm. 2. A VM: an address space with nothing in it.
  using kvm = Kvm.open();
  using vm = kvm.createVm();

  // 3. Memory: 64 KiB of this process, which the guest sees at its address 0.
  using ram = GuestRam.create(64 * 1024);
  vm.setUserMemoryRegion({ slot: 0, address: 0, ram });
  const memory = new Uint8Array(ram.map(0, ram.size));
  memory.set(guest.bytes, guest.origin);

  // 4. A CPU. After power-on it would start 16 bytes below 4 GiB, in a PC's firmware. Ours starts at the guest.
  using cpu = vm.createVcpu(0);
  cpu.changeSregs({ cs: { selector: 0, base: 0 } });
  cpu.changeRegs({ rip: guest.entry, rflags: 2 }); // bit 1 of the flags is always set

  out(`A guest of ${guest.bytes.length} bytes at ${hex(guest.origin, 4)}, text included.`);
  heading(out, "Each return of KVM_RUN");
  const rows: (string | number)[][] = [];
  let text = "";
  for (;;) {
    const reason = cpu.run();
    if (reason === KVM_EXIT_HLT) {
      rows.push([rows.length + 1, exitName(reason)]);
      break;
    }
    const { io } = cpu.exit;
    if (reason !== KVM_EXIT_IO || !io.isWrite) throw new Error(`unexpected exit ${exitName(reason)}`);
    const byte = io.get(0);
    text += String.fromCharCode(byte);
    rows.push([rows.length + 1, exitName(reason), `out ${hex(io.port)}`, character(byte), text]);
  }
  table(out, rows);
  out("");
  out(`The guest said: ${text}`);
  out(`${text.length} characters, ${rows.length} exits: one for each character, and one for HLT.`);
}
