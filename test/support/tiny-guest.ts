/**
 * A guest of a few instructions, on any KVM.
 *
 * RAM is 64 KiB at address 0; everything else is MMIO. The code is at CODE, in real
 * mode or in 64-bit mode. There, linear addresses below 1 GiB and from 4 to 5 GiB are
 * physical ones.
 */
import { Kvm } from "../../src/kvm/system.ts";
import type { Vcpu } from "../../src/kvm/vcpu.ts";
import type { Vm } from "../../src/kvm/vm.ts";
import { GuestRam } from "../../src/sys/guest-ram.ts";

export const CODE = 0x1000;
export const RAM_SIZE = 0x10000;
export const GIB = 2 ** 30;

const PML4 = 0x4000;
const PDPT = 0x5000;
const DIRECTORY_LOW = 0x6000;
const DIRECTORY_HIGH = 0x7000;
const PRESENT_WRITE = 3n;
const LARGE = 0x80n;
const LARGE_PAGE = 2n ** 21n;

export interface TinyGuest extends Disposable {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly ram: GuestRam;
  readonly memory: Uint8Array;
  readonly cpu: Vcpu;
}

export interface TinyGuestOptions {
  readonly mode?: "real" | "long";
  readonly irqchip?: boolean;
}

export function tinyGuest(code: readonly number[], options: TinyGuestOptions = {}): TinyGuest {
  const kvm = Kvm.open();
  const vm = kvm.createVm();
  if (options.irqchip) vm.createIrqchip();
  const ram = GuestRam.create(RAM_SIZE);
  vm.setUserMemoryRegion({ slot: 0, address: 0, ram });
  const buffer = ram.map(0, RAM_SIZE);
  const memory = new Uint8Array(buffer);
  memory.set(code, CODE);
  const cpu = vm.createVcpu(0);
  if (options.mode === "long") enterLongMode(cpu, new DataView(buffer));
  else cpu.changeSregs({ cs: { selector: 0, base: 0 } });
  cpu.changeRegs({ rip: CODE, rsp: 0xf000, rflags: 2 });
  const dispose = () => {
    for (const each of [cpu, vm, ram, kvm]) each.close();
  };
  return { kvm, vm, ram, memory, cpu, [Symbol.dispose]: dispose };
}

function enterLongMode(cpu: Vcpu, data: DataView): void {
  const entry = (table: number, index: number, value: bigint) =>
    data.setBigUint64(table + 8 * index, value, true);
  entry(PML4, 0, BigInt(PDPT) | PRESENT_WRITE);
  entry(PDPT, 0, BigInt(DIRECTORY_LOW) | PRESENT_WRITE);
  entry(PDPT, 4, BigInt(DIRECTORY_HIGH) | PRESENT_WRITE);
  for (let i = 0; i < 512; i++) {
    const page = BigInt(i) * LARGE_PAGE;
    entry(DIRECTORY_LOW, i, page | PRESENT_WRITE | LARGE);
    entry(DIRECTORY_HIGH, i, (page + 4n * BigInt(GIB)) | PRESENT_WRITE | LARGE);
  }
  const flat = { base: 0, limit: 0xffff_ffff, s: 1, present: 1, g: 1, dpl: 0, unusable: 0 };
  const stack = { ...flat, selector: 0x18, type: 3, db: 1, l: 0 };
  cpu.changeSregs({
    cr0: 0x8000_0011, // PG, ET, PE
    cr3: PML4,
    cr4: 0x20, // PAE
    efer: 0x500, // LMA, LME
    cs: { ...flat, selector: 0x10, type: 11, db: 0, l: 1 },
    ds: stack,
    es: stack,
    ss: stack,
  });
}
