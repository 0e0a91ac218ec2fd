/**
 * The x87 and SSE registers: between struct kvm_fpu and an object.
 *
 * Source: <asm/kvm.h>; Intel SDM volume 1, 8.1.2 (registers), 8.1.7 (tag word)
 * and 10.5.1 (the FXSAVE image, whose abridged tag word KVM keeps). The upper
 * halves of YMM and later registers are in the XSAVE area only.
 */
import { kvm_fpu } from "./abi.ts";

const ST_COUNT = 8;
const ST_STRIDE = 16; // bytes; a register has the first 10
const ST_HIGH_MASK = 0xffffn;
const XMM_COUNT = 16;
const XMM_BYTES = 16;
const LOW_64 = 0xffff_ffff_ffff_ffffn;

export interface Fpu {
  /** ST0 to ST7, 80 bits each. */
  st: bigint[];
  fcw: number;
  fsw: number;
  /** Abridged: bit n is set unless physical register n is empty. */
  ftwx: number;
  last_opcode: number;
  last_ip: bigint;
  last_dp: bigint;
  /** XMM0 to XMM15, 128 bits each. */
  xmm: bigint[];
  mxcsr: number;
}

export function readFpu(bytes: Uint8Array): Fpu {
  const data = viewOf(bytes);
  const wide = (at: number, highMask: bigint) =>
    data.getBigUint64(at, true) | ((data.getBigUint64(at + 8, true) & highMask) << 64n);
  return {
    st: Array.from({ length: ST_COUNT }, (_, i) => wide(kvm_fpu.fpr + ST_STRIDE * i, ST_HIGH_MASK)),
    fcw: data.getUint16(kvm_fpu.fcw, true),
    fsw: data.getUint16(kvm_fpu.fsw, true),
    ftwx: data.getUint8(kvm_fpu.ftwx),
    last_opcode: data.getUint16(kvm_fpu.last_opcode, true),
    last_ip: data.getBigUint64(kvm_fpu.last_ip, true),
    last_dp: data.getBigUint64(kvm_fpu.last_dp, true),
    xmm: Array.from({ length: XMM_COUNT }, (_, i) => wide(kvm_fpu.xmm + XMM_BYTES * i, LOW_64)),
    mxcsr: data.getUint32(kvm_fpu.mxcsr, true),
  };
}

/** Writes every field of `fpu` over those in `bytes`. */
export function writeFpu(bytes: Uint8Array, fpu: Fpu): void {
  const data = viewOf(bytes);
  const wide = (at: number, value: bigint) => {
    data.setBigUint64(at, value & LOW_64, true);
    data.setBigUint64(at + 8, value >> 64n, true);
  };
  fpu.st.slice(0, ST_COUNT).forEach((value, i) => {
    wide(kvm_fpu.fpr + ST_STRIDE * i, value);
  });
  data.setUint16(kvm_fpu.fcw, fpu.fcw, true);
  data.setUint16(kvm_fpu.fsw, fpu.fsw, true);
  data.setUint8(kvm_fpu.ftwx, fpu.ftwx);
  data.setUint16(kvm_fpu.last_opcode, fpu.last_opcode, true);
  data.setBigUint64(kvm_fpu.last_ip, fpu.last_ip, true);
  data.setBigUint64(kvm_fpu.last_dp, fpu.last_dp, true);
  fpu.xmm.slice(0, XMM_COUNT).forEach((value, i) => {
    wide(kvm_fpu.xmm + XMM_BYTES * i, value);
  });
  data.setUint32(kvm_fpu.mxcsr, fpu.mxcsr, true);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
