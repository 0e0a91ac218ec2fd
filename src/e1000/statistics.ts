/**
 * The card's own counters. Reading one clears it.
 *
 * Source: 317453, 13.7.
 */
import { type E1000Registers, STATISTICS } from "./registers.ts";

const at = (offset: number) => (offset - STATISTICS) / 4;
export const MPC = at(0x4010);
const PRC64 = at(0x405c);
const GPRC = at(0x4074);
const BPRC = at(0x4078);
const MPRC = at(0x407c);
const GPTC = at(0x4080);
const GORCL = at(0x4088);
const GOTCL = at(0x4090);
export const RNBC = at(0x40a0);
export const ROC = at(0x40ac);
const TORL = at(0x40c0);
const TOTL = at(0x40c8);
const TPR = at(0x40d0);
const TPT = at(0x40d4);
const PTC64 = at(0x40d8);
const MPTC = at(0x40f0);
const BPTC = at(0x40f4);
/** Each is the upper half of the register before it, and clears both. */
const UPPER = [GORCL + 1, GOTCL + 1, TORL + 1, TOTL + 1];
const FCS_BYTES = 4;

export function countReceived(regs: E1000Registers, bytes: Uint8Array, start: number, length: number): void {
  const { statistics } = regs;
  const size = length + FCS_BYTES;
  statistics[GPRC]++;
  statistics[TPR]++;
  add(statistics, GORCL, size);
  add(statistics, TORL, size);
  statistics[PRC64 + sizeClass(size)]++;
  if ((bytes[start] & 1) !== 0) statistics[isBroadcast(bytes, start) ? BPRC : MPRC]++;
}

export function countSent(regs: E1000Registers, bytes: Uint8Array, start: number, length: number): void {
  const { statistics } = regs;
  const size = length + FCS_BYTES;
  statistics[GPTC]++;
  statistics[TPT]++;
  add(statistics, GOTCL, size);
  add(statistics, TOTL, size);
  statistics[PTC64 + sizeClass(size)]++;
  if ((bytes[start] & 1) !== 0) statistics[isBroadcast(bytes, start) ? BPTC : MPTC]++;
}

export function readStatistic(regs: E1000Registers, index: number): number {
  const { statistics } = regs;
  const value = statistics[index];
  if (UPPER.includes(index)) statistics[index - 1] = 0;
  // The lower half of 64 bits stays until the upper one is read.
  if (!UPPER.includes(index + 1)) statistics[index] = 0;
  return value;
}

/** Of 64 bits. */
function add(statistics: Uint32Array, index: number, value: number): void {
  const before = statistics[index];
  statistics[index] = before + value;
  if (statistics[index] < before) statistics[index + 1]++;
}

/** 64 bytes, up to 127, 255, 511, 1023, and more. */
function sizeClass(size: number): number {
  if (size <= 64) return 0;
  if (size <= 127) return 1;
  if (size <= 255) return 2;
  if (size <= 511) return 3;
  return size <= 1023 ? 4 : 5;
}

function isBroadcast(bytes: Uint8Array, start: number): boolean {
  for (let n = 0; n < 6; n++) if (bytes[start + n] !== 0xff) return false;
  return true;
}
