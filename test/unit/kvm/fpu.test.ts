import { expect, test } from "vitest";
import { kvm_fpu } from "../../../src/kvm/abi.ts";
import { type Fpu, readFpu, writeFpu } from "../../../src/kvm/fpu.ts";

const fpu: Fpu = {
  st: Array.from({ length: 8 }, (_, i) => 0x3fff_8000_0000_0000_0000n + BigInt(i)),
  fcw: 0x37f,
  fsw: 0x3800,
  ftwx: 0x81,
  last_opcode: 0x5a5,
  last_ip: 0xffff_ffff_8100_0000n,
  last_dp: 0xffff_8880_0000_0010n,
  xmm: Array.from({ length: 16 }, (_, i) => (BigInt(i) << 120n) | 0x1234n),
  mxcsr: 0x1f80,
};

test("what is written is read back, in the kernel's places", () => {
  const bytes = new Uint8Array(kvm_fpu.sizeof);
  writeFpu(bytes, fpu);
  expect(readFpu(bytes)).toEqual(fpu);
  expect([...bytes.subarray(16, 28)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f, 0, 0]); // ST1: 80 bits
  expect(bytes[kvm_fpu.xmm + 16 + 15]).toBe(1); // XMM1's top byte
});
