/** What makes a guest leave KVM_RUN, and what its owner then sees. */
import { expect, test } from "vitest";
import {
  KVM_EXIT_DEBUG,
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_IO,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_INTERNAL_ERROR_EMULATION,
} from "../../src/kvm/abi.ts";
import { exitName, INTERRUPTED } from "../../src/kvm/exit.ts";
import { CODE, GIB, RAM_SIZE, tinyGuest } from "../support/tiny-guest.ts";

const HLT = 0xf4;

test("a write to a port of 1, 2 and 4 bytes arrives with its width and value", () => {
  using guest = tinyGuest([
    ...[0x66, 0xb8, 0x78, 0x56, 0x34, 0x12], // mov eax, 0x12345678
    ...[0xba, 0xf8, 0x03], // mov dx, 0x3f8
    0xee, // out dx, al
    0xef, // out dx, ax
    ...[0x66, 0xef], // out dx, eax
    HLT,
  ]);
  const { io } = guest.cpu.exit;
  for (const [size, value] of [
    [1, 0x78],
    [2, 0x5678],
    [4, 0x12345678],
  ]) {
    expect(exitName(guest.cpu.run())).toBe("IO");
    expect([io.port, io.size, io.count, io.isWrite, io.get(0)]).toEqual([0x3f8, size, 1, true, value]);
  }
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("a read from a port takes the answer, and only the bytes it asked for", () => {
  using guest = tinyGuest([
    ...[0x66, 0x31, 0xc0], // xor eax, eax
    ...[0xe4, 0x10], // in al, 0x10
    ...[0xa3, 0x00, 0x20], // mov [0x2000], ax
    ...[0xe5, 0x10], // in ax, 0x10
    ...[0xa3, 0x04, 0x20], // mov [0x2004], ax
    ...[0x66, 0xe5, 0x10], // in eax, 0x10
    ...[0x66, 0xa3, 0x08, 0x20], // mov [0x2008], eax
    HLT,
  ]);
  for (const size of [1, 2, 4]) {
    expect(guest.cpu.run()).toBe(KVM_EXIT_IO);
    expect([guest.cpu.exit.io.isWrite, guest.cpu.exit.io.size]).toEqual([false, size]);
    guest.cpu.exit.io.put(0, 0xdeadbeef);
  }
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
  const data = new DataView(guest.memory.buffer);
  const seen = [0x2000, 0x2004, 0x2008].map((at) => data.getUint32(at, true));
  expect(seen).toEqual([0xef, 0xbeef, 0xdeadbeef]);
});

/** Runs until HLT; collects every element of every port exit. */
function collect(code: number[], answer: (n: number) => number, size: number) {
  const guest = tinyGuest(code);
  const seen: { size: number; value: number; port: number }[] = [];
  let n = 0;
  while (guest.cpu.run() === KVM_EXIT_IO) {
    const { io } = guest.cpu.exit;
    expect(io.size).toBe(size);
    for (let i = 0; i < io.count; i++, n++) {
      if (io.isWrite) seen.push({ size: io.size, value: io.get(i), port: io.port });
      else io.put(i, answer(n));
    }
  }
  expect(guest.cpu.exit.reason).toBe(KVM_EXIT_HLT);
  return { guest, seen, count: n };
}

test.each([
  [1, [0xf3, 0x6e]], // rep outsb
  [2, [0xf3, 0x6f]], // rep outsw
  [4, [0xf3, 0x66, 0x6f]], // rep outsd
])("rep outs of %i-byte elements moves the data and not the port", (size, outs) => {
  const setup = [0xbe, 0x00, 0x18, 0xb9, 0x06, 0x00, 0xba, 0x78, 0x00]; // si = 0x1800, cx = 6, dx = 0x78
  const text = Array.from({ length: 24 }, (_, i) => i + 1);
  // The data is code that never runs, at 0x1800.
  const { guest, seen } = collect(
    [...setup, ...outs, HLT, ...pad(0x800, 10 + outs.length), ...text],
    () => 0,
    size,
  );
  const data = new DataView(Uint8Array.from(text).buffer);
  const element = (i: number) =>
    size === 1 ? data.getUint8(i) : size === 2 ? data.getUint16(2 * i, true) : data.getUint32(4 * i, true);
  expect(seen).toEqual(Array.from({ length: 6 }, (_, i) => ({ size, value: element(i), port: 0x78 })));
  guest[Symbol.dispose]();
});

test.each([
  [1, [0xf3, 0x6c]], // rep insb
  [2, [0xf3, 0x6d]], // rep insw
  [4, [0xf3, 0x66, 0x6d]], // rep insd
])("rep ins of %i-byte elements fills memory with the answers in order", (size, ins) => {
  const setup = [0xbf, 0x00, 0x20, 0xb9, 0x05, 0x00, 0xba, 0x78, 0x00]; // di = 0x2000, cx = 5, dx = 0x78
  const { guest, count } = collect([...setup, ...ins, HLT], (n) => 0x01010101 * (n + 1), size);
  expect(count).toBe(5);
  const filled = [1, 2, 3, 4, 5].flatMap((n) => Array(size).fill(n));
  expect([...guest.memory.subarray(0x2000, 0x2000 + 5 * size + 1)]).toEqual([...filled, 0]);
  guest[Symbol.dispose]();
});

function pad(length: number, used: number): number[] {
  return Array(length - used).fill(HLT);
}

test("a write to memory that is not there arrives with 1, 2, 4 and 8 bytes", () => {
  using guest = tinyGuest(
    [
      ...[0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11], // mov rax, 0x1122334455667788
      ...[0xbf, 0x00, 0x00, 0x00, 0x0d], // mov edi, 0xd000000
      ...[0x88, 0x07], // mov [rdi], al
      ...[0x66, 0x89, 0x47, 0x04], // mov [rdi+4], ax
      ...[0x89, 0x47, 0x08], // mov [rdi+8], eax
      ...[0x48, 0x89, 0x47, 0x10], // mov [rdi+16], rax
      HLT,
    ],
    { mode: "long" },
  );
  const { mmio } = guest.cpu.exit;
  for (const [offset, length, low, high] of [
    [0, 1, 0x88, 0],
    [4, 2, 0x7788, 0],
    [8, 4, 0x55667788, 0],
    [16, 8, 0x55667788, 0x11223344],
  ]) {
    expect(exitName(guest.cpu.run())).toBe("MMIO");
    expect([mmio.address, mmio.length, mmio.isWrite, mmio.low, mmio.high]).toEqual([
      0xd000000 + offset,
      length,
      true,
      low,
      high,
    ]);
    expect(mmio.get(0)).toBe(0x88);
  }
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("a read from memory that is not there takes the answer: 1, 2, 4 and 8 bytes", () => {
  using guest = tinyGuest(
    [
      ...[0xbf, 0x00, 0x00, 0x00, 0x0d], // mov edi, 0xd000000
      ...[0x31, 0xc0, 0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2], // xor eax,eax; ebx; ecx; edx
      ...[0x8a, 0x07], // mov al, [rdi]
      ...[0x66, 0x8b, 0x1f], // mov bx, [rdi]
      ...[0x8b, 0x0f], // mov ecx, [rdi]
      ...[0x48, 0x8b, 0x17], // mov rdx, [rdi]
      HLT,
    ],
    { mode: "long" },
  );
  const { mmio } = guest.cpu.exit;
  for (const length of [1, 2, 4, 8]) {
    expect(guest.cpu.run()).toBe(KVM_EXIT_MMIO);
    expect([mmio.address, mmio.length, mmio.isWrite]).toEqual([0xd000000, length, false]);
    mmio.low = 0x89abcdef;
    mmio.high = 0x01234567;
  }
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
  const { rax, rbx, rcx, rdx } = guest.cpu.getRegs();
  expect([rax, rbx, rcx, rdx]).toEqual([0xefn, 0xcdefn, 0x89abcdefn, 0x0123456789abcdefn]);
});

test("an address above 4 GiB arrives whole", () => {
  using guest = tinyGuest(
    [
      ...[0x48, 0xbf, 0x78, 0x56, 0x34, 0x12, 0x01, 0x00, 0x00, 0x00], // mov rdi, 0x112345678
      ...[0xc6, 0x07, 0x5a], // mov byte [rdi], 0x5a
      HLT,
    ],
    { mode: "long" },
  );
  expect(guest.cpu.run()).toBe(KVM_EXIT_MMIO);
  expect(guest.cpu.exit.mmio.address).toBe(4 * GIB + 0x12345678);
  expect(guest.cpu.exit.mmio.low).toBe(0x5a);
});

test("completing an exit finishes the instruction and runs no other", () => {
  using guest = tinyGuest([0xe4, 0x10, 0xb0, 0x99, HLT]); // in al, 0x10; mov al, 0x99
  expect(guest.cpu.run()).toBe(KVM_EXIT_IO);
  guest.cpu.exit.io.put(0, 0x42);
  expect(guest.cpu.completeExit()).toBe(INTERRUPTED);
  const { rax, rip } = guest.cpu.getRegs();
  expect([Number(rax & 0xffn), Number(rip)]).toEqual([0x42, CODE + 2]);
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("a triple fault is a shutdown", () => {
  using guest = tinyGuest([0x0f, 0x0b], { mode: "long" }); // ud2
  guest.cpu.changeSregs({ idt: { limit: 0 } });
  expect(exitName(guest.cpu.run())).toBe(exitName(KVM_EXIT_SHUTDOWN));
});

test("an instruction outside of RAM is an internal error of emulation", () => {
  using guest = tinyGuest([]);
  guest.cpu.changeSregs({ cs: { base: 0x20_0000, selector: 0 } });
  expect(exitName(guest.cpu.run())).toBe(exitName(KVM_EXIT_INTERNAL_ERROR));
  const { suberror, internalData, instruction } = guest.cpu.exit;
  expect(suberror).toBe(KVM_INTERNAL_ERROR_EMULATION);
  expect(internalData.length).toBeLessThanOrEqual(16);
  expect(instruction.length).toBeLessThanOrEqual(15);
});

test("a single step stops at the next instruction", () => {
  using guest = tinyGuest([0x90, 0x90, HLT]);
  guest.cpu.setGuestDebug({ singleStep: true });
  expect(exitName(guest.cpu.run())).toBe(exitName(KVM_EXIT_DEBUG));
  expect(guest.cpu.exit.debugPc).toBe(BigInt(CODE + 1));
  expect(guest.cpu.exit.debugException).toBe(1);
  guest.cpu.setGuestDebug({});
  expect(guest.cpu.run()).toBe(KVM_EXIT_HLT);
});

test("the page table of a guest can be asked where an address leads", () => {
  using guest = tinyGuest([HLT], { mode: "long" });
  expect(guest.cpu.translate(BigInt(RAM_SIZE))?.address).toBe(BigInt(RAM_SIZE));
  expect(guest.cpu.translate(2n ** 40n)).toBeUndefined();
});
