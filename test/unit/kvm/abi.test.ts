/** The numbers of the KVM API come from the compiler. */
import { expect, test } from "vitest";
import * as abi from "../../../src/kvm/abi.ts";
import { native } from "../../../src/sys/native.ts";

const { KVM_CAP, EXIT_NAMES, ...members } = abi;
const capabilities = Object.entries(KVM_CAP).map(([name, value]) => [`KVM_CAP_${name}`, value]);
const numbers = [
  ...Object.entries(members).filter(([, value]) => typeof value === "number"),
  ...capabilities,
];
const structs = Object.entries(members).filter(([, value]) => typeof value === "object");

test("every constant is the one the compiler finds in <linux/kvm.h>", () => {
  expect(Object.fromEntries(numbers)).toEqual(native.constants());
});

test("every exit has its name", () => {
  const named = Object.entries(EXIT_NAMES).map(([value, name]) => [`KVM_EXIT_${name}`, Number(value)]);
  expect(numbers).toEqual(expect.arrayContaining(named));
  const exits = numbers.filter(([name]) => /^KVM_EXIT_(?!IO_)/.test(String(name)));
  expect(named).toHaveLength(exits.length);
});

test("every struct has the size and offsets that the compiler gives it", () => {
  const compiled = Object.entries(native.layout()).map(([name, members]) => [
    name,
    Object.fromEntries(Object.entries(members).map(([member, at]) => [member.replaceAll(".", "_"), at])),
  ]);
  expect(Object.fromEntries(structs)).toEqual(Object.fromEntries(compiled));
});

// Sizes that are part of ioctl numbers on x86-64: a compiler that disagrees makes other ioctls.
test.each([
  ["kvm_regs", 144],
  ["kvm_sregs", 312],
  ["kvm_fpu", 416],
  ["kvm_lapic_state", 1024],
  ["kvm_debugregs", 128],
  ["kvm_guest_debug", 72],
  ["kvm_translation", 24],
  ["kvm_msr_entry", 16],
  ["kvm_cpuid_entry2", 40],
  ["kvm_irqchip", 520],
  ["kvm_clock_data", 48],
  ["kvm_pit_state2", 112],
  ["kvm_vcpu_events", 64],
  ["kvm_irq_routing_entry", 48],
  ["kvm_stats_desc", 16],
])("%s has the %i bytes that the kernel takes", (name, size) => {
  expect(Object.fromEntries(structs)[name]).toMatchObject({ sizeof: size });
});
