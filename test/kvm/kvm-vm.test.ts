/** Memory slots, interrupts, doorbells and state that a VM gives out and takes back. */
import { expect, test } from "vitest";
import {
  KVM_EXIT_HLT,
  KVM_EXIT_IO,
  KVM_EXIT_MMIO,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_MP_STATE_RUNNABLE,
} from "../../src/kvm/abi.ts";
import { KvmError } from "../../src/kvm/errors.ts";
import { exitName } from "../../src/kvm/exit.ts";
import { Kvm } from "../../src/kvm/system.ts";
import { EventFd } from "../../src/sys/event.ts";
import { GuestRam } from "../../src/sys/guest-ram.ts";
import { CODE, tinyGuest } from "../support/tiny-guest.ts";

const HLT = 0xf4;

test("KVM tells its version, capabilities, CPUID and MSRs", () => {
  using kvm = Kvm.open();
  expect(kvm.apiVersion).toBe(12);
  expect(kvm.checkExtension("USER_MEMORY")).toBe(1);
  expect(kvm.checkExtension(0xffff)).toBe(0);
  expect(kvm.vcpuMmapSize % 4096).toBe(0);
  const [leaf0] = kvm.supportedCpuid();
  expect([leaf0.function, leaf0.eax >= 1]).toEqual([0, true]);
  expect(kvm.msrIndexList()).toContain(0x174); // IA32_SYSENTER_CS
  const features = kvm.msrFeatureIndexList();
  expect(kvm.featureMsrs(features).map(({ index }) => index)).toEqual([...features]);
});

test("a missing /dev/kvm is an error that says what to try", () => {
  expect(() => Kvm.open("/dev/no-kvm")).toThrow(
    /^opening KVM: open\(\/dev\/no-kvm\) failed with ENOENT\. .*kvm_intel/,
  );
  expect(() => Kvm.open("/dev/no-kvm")).toThrow(KvmError);
});

test("registers that were set are the ones that are read, and a change leaves the others", () => {
  using guest = tinyGuest([HLT]);
  const { cpu } = guest;
  cpu.changeRegs({ rax: 0x8000_0000_0000_0001n, r15: 15 });
  const regs = cpu.getRegs();
  expect([regs.rax, regs.r15, regs.rip]).toEqual([0x8000_0000_0000_0001n, 15n, BigInt(CODE)]);
  cpu.setRegs({ ...regs, rbx: 5n });
  expect(cpu.getRegs()).toEqual({ ...regs, rbx: 5n });

  const sregs = cpu.getSregs();
  cpu.changeSregs({ gdt: { base: 0x2000 }, ds: { base: 0x1230, selector: 0x123 } });
  const changed = cpu.getSregs();
  expect(changed.gdt).toEqual({ base: 0x2000n, limit: sregs.gdt.limit });
  expect(changed.ds).toEqual({ ...sregs.ds, base: 0x1230n, selector: 0x123 });
  expect({ ...changed, gdt: sregs.gdt, ds: sregs.ds }).toEqual(sregs);
  cpu.setSregs(sregs);
  expect(cpu.getSregs()).toEqual(sregs);
});

test("everything else that a vCPU holds can be read and set again", () => {
  using guest = tinyGuest([HLT], { irqchip: true });
  const { cpu } = guest;
  cpu.setFpu(cpu.getFpu());
  cpu.setXsave(cpu.getXsave());
  cpu.setXcrs(cpu.getXcrs());
  cpu.setLapic(cpu.getLapic());
  cpu.setVcpuEvents(cpu.getVcpuEvents());
  cpu.setDebugregs(cpu.getDebugregs());
  expect(cpu.getMpState()).toBe(KVM_MP_STATE_RUNNABLE);
  cpu.setMpState(KVM_MP_STATE_RUNNABLE);
  expect(cpu.setMsrs([{ index: 0x174, data: 0x1234n }])).toBe(1);
  expect(cpu.getMsrs([0x174])).toEqual([{ index: 0x174, data: 0x1234n }]);
  expect(
    cpu.setMsrs([
      { index: 0xdead0000, data: 0n },
      { index: 0x174, data: 0n },
    ]),
  ).toBe(0);
  expect(cpu.tscKhz).toBeGreaterThan(0);
});

test("a guest sees the CPUID that was set", () => {
  using guest = tinyGuest([0x66, 0x31, 0xc0, 0x0f, 0xa2, HLT]); // xor eax, eax; cpuid
  const entry = { function: 0, index: 0, flags: 0, eax: 1, ebx: 0x11, ecx: 0x22, edx: 0x33 };
  guest.cpu.setCpuid([entry]);
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
  const { rax, rbx, rcx, rdx } = guest.cpu.getRegs();
  expect([rax, rbx, rcx, rdx]).toEqual([1n, 0x11n, 0x22n, 0x33n]);
});

test("the state of clock, timer and interrupt controllers can be read and set again", () => {
  using guest = tinyGuest([HLT], { irqchip: true });
  const { vm } = guest;
  vm.createPit2();
  vm.setPit2(vm.getPit2());
  const chip = vm.getIrqchip(KVM_IRQCHIP_IOAPIC);
  vm.setIrqchip(chip);
  expect(vm.getIrqchip(KVM_IRQCHIP_IOAPIC)).toEqual(chip);
  vm.setClock(10n ** 15n);
  expect(vm.getClock().clock).toBeGreaterThanOrEqual(10n ** 15n);
});

test("pages that a guest writes are in the dirty log, once", () => {
  using guest = tinyGuest([0xc6, 0x06, 0x05, 0x30, 0x01, HLT]); // mov byte [0x3005], 1
  const { vm, ram, cpu } = guest;
  vm.setUserMemoryRegion({ slot: 0, address: 0, ram, logDirtyPages: true });
  expect(cpu.run()).toBe(KVM_EXIT_HLT);
  const bitmap = new Uint8Array(8);
  vm.getDirtyLog(0, bitmap);
  expect(bitmap[0] & (1 << 3)).toBe(1 << 3);
  expect(bitmap[0] & (1 << 5)).toBe(0);
  vm.getDirtyLog(0, bitmap);
  expect([...bitmap]).toEqual(Array(8).fill(0));
});

test("with manual protection, the dirty log stays until its pages are cleared", () => {
  using guest = tinyGuest([0xc6, 0x06, 0x05, 0x30, 0x01, HLT, 0xeb, 0xf8]); // mov byte [0x3005], 1; hlt; again
  const { vm, ram, cpu } = guest;
  if ((vm.checkExtension("MANUAL_DIRTY_LOG_PROTECT2") & 1) === 0) return;
  vm.enableCap("MANUAL_DIRTY_LOG_PROTECT2", 1);
  vm.setUserMemoryRegion({ slot: 0, address: 0, ram, logDirtyPages: true });
  const bitmap = new Uint8Array(8);
  const page3 = () => {
    vm.getDirtyLog(0, bitmap);
    return bitmap[0] & (1 << 3);
  };
  cpu.run();
  expect([page3(), page3()]).toEqual([1 << 3, 1 << 3]);
  vm.clearDirtyLog(0, bitmap, 0, ram.size / 4096);
  expect(page3()).toBe(0);
  cpu.run();
  expect(page3()).toBe(1 << 3);
  expect(() => vm.clearDirtyLog(0, bitmap, 0, 64)).toThrow(expect.objectContaining({ code: "EINVAL" }));
});

test("a slot that moves is memory at its new address only", () => {
  using guest = tinyGuest([0xa0, 0x00, 0x00, HLT]); // mov al, [ds:0]
  using more = GuestRam.create(4096);
  new Uint8Array(more.map(0, 1))[0] = 0x42;
  guest.vm.setUserMemoryRegion({ slot: 1, address: 0x20000, ram: more });
  guest.vm.setUserMemoryRegion({ slot: 1, address: 0x30000, ram: more });
  expect(guest.vm.memorySlots[1]).toMatchObject({ slot: 1, guestPhysAddr: 0x30000, memorySize: 4096 });
  guest.cpu.changeSregs({ ds: { base: 0x30000, selector: 0x3000 } });
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
  expect(guest.cpu.getRegs().rax & 0xffn).toBe(0x42n);
  guest.cpu.changeSregs({ ds: { base: 0x20000, selector: 0x2000 } });
  guest.cpu.changeRegs({ rip: BigInt(CODE) });
  expect(guest.cpu.run()).toBe(KVM_EXIT_MMIO);
});

test("a write to read-only memory is an exit, a read is not", () => {
  // mov al, [0xf000]; mov [0xf000], al — in a slot of its own behind ds
  using guest = tinyGuest([0xa0, 0x00, 0x00, 0xa2, 0x01, 0x00, HLT]);
  using rom = GuestRam.create(4096);
  new Uint8Array(rom.map(0, 1))[0] = 0x77;
  guest.vm.setUserMemoryRegion({ slot: 1, address: 0x20000, ram: rom, readOnly: true });
  guest.cpu.changeSregs({ ds: { base: 0x20000, selector: 0x2000 } });
  expect(guest.cpu.run()).toBe(KVM_EXIT_MMIO);
  const { mmio } = guest.cpu.exit;
  expect([mmio.address, mmio.isWrite, mmio.low]).toEqual([0x20001, true, 0x77]);
});

test("a deleted slot is not memory any more", () => {
  using guest = tinyGuest([0xa0, 0x00, 0x00, HLT]); // mov al, [ds:0]
  using more = GuestRam.create(4096);
  guest.vm.setUserMemoryRegion({ slot: 1, address: 0x20000, ram: more });
  guest.vm.deleteMemorySlot(1);
  guest.cpu.changeSregs({ ds: { base: 0x20000, selector: 0x2000 } });
  expect(guest.cpu.run()).toBe(KVM_EXIT_MMIO);
  expect(guest.cpu.exit.mmio.address).toBe(0x20000);
});

test("overlapping memory is refused, with the reason", () => {
  using guest = tinyGuest([HLT]);
  const overlap = { slot: 1, address: 0x8000, ram: guest.ram, size: 4096 };
  expect(() => guest.vm.setUserMemoryRegion(overlap)).toThrow(/EEXIST.*overlaps/);
});

test("a doorbell on a port rings its event, only for its value, without an exit", () => {
  using guest = tinyGuest([
    ...[0xb0, 0x05, 0xe6, 0x50], // mov al, 5; out 0x50, al
    ...[0xb0, 0x06, 0xe6, 0x50], // mov al, 6; out 0x50, al
    HLT,
  ]);
  using event = EventFd.create();
  const doorbell = { address: 0x50, length: 1, datamatch: 5, port: true };
  guest.vm.ioeventfd(event, doorbell);
  expect(guest.cpu.run()).toBe(KVM_EXIT_IO);
  expect(guest.cpu.exit.io.get(0)).toBe(6);
  expect(event.take()).toBe(1);
  guest.vm.removeIoeventfd(event, doorbell);
  expect(() => guest.vm.removeIoeventfd(event, doorbell)).toThrow(
    expect.objectContaining({ code: "ENOENT" }),
  );
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("a doorbell in memory rings its event", () => {
  using guest = tinyGuest([0xc6, 0x06, 0x10, 0x00, 0x01, HLT]); // mov byte [ds:0x10], 1
  using event = EventFd.create();
  guest.vm.ioeventfd(event, { address: 0x20010, length: 1 });
  guest.cpu.changeSregs({ ds: { base: 0x20000, selector: 0x2000 } });
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
  expect(event.take()).toBe(1);
});

/** Sets the PIC up for IRQ 5 at vector 0x25, says so to port 0x81, and waits for it. */
const WAIT_FOR_IRQ5 = [
  ...[0xb0, 0x11, 0xe6, 0x20], // ICW1: edge, cascade, ICW4
  ...[0xb0, 0x20, 0xe6, 0x21], // ICW2: vectors from 0x20
  ...[0xb0, 0x04, 0xe6, 0x21], // ICW3
  ...[0xb0, 0x01, 0xe6, 0x21], // ICW4: 8086
  ...[0xb0, 0xdf, 0xe6, 0x21], // mask all but IRQ 5
  ...[0xe6, 0x81], // out 0x81, al
  0xfb, // sti
  ...[0xeb, 0xfe], // jmp $
];
const HANDLER = [0xb0, 0x5a, 0xe6, 0x80]; // mov al, 0x5a; out 0x80, al

test.each(["a line", "a pulse", "an event"])("%s interrupts the guest", (how) => {
  using guest = tinyGuest(WAIT_FOR_IRQ5, { irqchip: true });
  using event = EventFd.create();
  const { vm, memory, cpu } = guest;
  memory.set(HANDLER, 0x2000);
  new DataView(memory.buffer).setUint32(0x25 * 4, 0x2000, true);
  expect(cpu.run()).toBe(KVM_EXIT_IO);
  expect(cpu.exit.io.port).toBe(0x81);
  if (how === "a line") {
    vm.irqLine(5, true);
  } else if (how === "a pulse") {
    vm.pulseIrqLine(5);
  } else {
    vm.irqfd(event, 5);
    event.signal();
    vm.removeIrqfd(event, 5);
    vm.irqfd(event, 5); // EBUSY if it were still assigned
  }
  expect(exitName(cpu.run())).toBe("IO");
  expect([cpu.exit.io.port, cpu.exit.io.get(0)]).toEqual([0x80, 0x5a]);
});

test("statistics have names and numbers", () => {
  using guest = tinyGuest([0xe6, 0x80, HLT]); // out 0x80, al
  if (guest.vm.checkExtension("BINARY_STATS_FD") === 0) return;
  guest.cpu.run();
  guest.cpu.run();
  const stats = guest.cpu.stats();
  expect(stats.get("io_exits")).toBeTypeOf("bigint");
  expect(stats.get("exits")).toBeGreaterThan(0n);
  expect(guest.vm.stats().size).toBeGreaterThan(0);
});

test("routes to pins and messages are taken", () => {
  using guest = tinyGuest([HLT], { irqchip: true });
  guest.vm.setGsiRouting([
    { gsi: 5, irqchip: KVM_IRQCHIP_PIC_MASTER, pin: 5 },
    { gsi: 24, msiAddress: 0xfee00000, msiData: 0x30 },
  ]);
  expect(() => guest.vm.setGsiRouting([{ gsi: 1, irqchip: 9, pin: 0 }])).toThrow(
    expect.objectContaining({ code: "EINVAL" }),
  );
  expect(guest.vm.signalMsi(0xfee00000, 0x30)).toBeTypeOf("boolean");
});

test("a message to a CPU that does not exist is not an error: a guest may send one", () => {
  using guest = tinyGuest([HLT], { irqchip: true });
  expect(guest.vm.signalMsi(0xfee7f000, 0x30)).toBe(false);
});
