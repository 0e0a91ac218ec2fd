/**
 * Machines whose guest is a few bytes of real-mode code, and instructions to compose
 * it of.
 *
 * The code is at 0x1000 with CS = DS = ES = SS = 0x100, so its data is at the offsets
 * for which it was assembled.
 */
import { createVm, type VirtualMachine, type VmOptions } from "vmexit";

const low = (value: number) => value & 0xff;
const word = (value: number) => [low(value), low(value >>> 8)];
const dword = (value: number) => [...word(value), ...word(value >>> 16)];

/** mov dx, port; mov al, value; out dx, al */
export const outByte = (port: number, value: number) => [0xba, ...word(port), 0xb0, low(value), 0xee];
/** mov dx, port; mov ax, value; out dx, ax */
export const outWord = (port: number, value: number) => [0xba, ...word(port), 0xb8, ...word(value), 0xef];
/** mov dx, port; mov eax, value; out dx, eax */
export const outDword = (port: number, value: number) => [
  ...[0xba, ...word(port)],
  ...[0x66, 0xb8, ...dword(value)],
  ...[0x66, 0xef],
];
/** mov dx, port; in al, dx / in ax, dx / in eax, dx */
export const inByte = (port: number) => [0xba, ...word(port), 0xec];
export const inWord = (port: number) => [0xba, ...word(port), 0xed];
export const inDword = (port: number) => [0xba, ...word(port), 0x66, 0xed];
/** mov dx, port; out dx, eax */
export const outEax = (port: number) => [0xba, ...word(port), 0x66, 0xef];

/** Prints on COM1. */
export const say = (text: string) => [...Buffer.from(text)].flatMap((byte) => outByte(0x3f8, byte));
/** Ends the machine by the debug-exit port; the exit status is (value << 1) | 1. */
export const exitWith = (value: number) => outByte(0xf4, value);
/** Sleep state S5 to the ACPI control port. */
export const POWER_OFF = outWord(0x604, 0x3400);
/** The keyboard controller pulses the reset line. */
export const RESET = outByte(0x64, 0xfe);
/** jmp $ */
export const FOR_EVER = [0xeb, 0xfe];
/** Writes dots on COM1, without end. */
export const FLOOD = [...outByte(0x3f8, 0x2e), 0xee, 0xeb, 0xfd];
/** cli; lidt of six zeroes; int 3: exceptions without a handler, up to a triple fault. */
export const TRIPLE_FAULT = [
  ...[0xfa, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // cli; cr0 |= PE
  ...[0x66, 0x31, 0xc0, 0x50, 0x50, 0x50, 0x89, 0xe5, 0x0f, 0x01, 0x5e, 0x00], // eax = 0; push it; lidt [bp]
  ...[0x31, 0xc9, 0xf7, 0xf1], // xor cx, cx; div cx
];

/** Echoes on COM1 what arrives there, without end. It polls, without interrupts. */
export const ECHO = [
  ...[0xba, 0xfd, 0x03], //       mov dx, 0x3fd
  ...[0xec, 0xa8, 0x01], // wait: in al, dx; test al, DR
  ...[0x74, 0xfb], //             jz wait
  ...[0xb2, 0xf8, 0xec, 0xee], // mov dl, 0xf8; in al, dx; out dx, al
  ...[0xb2, 0xfd], //             mov dl, 0xfd
  ...[0xeb, 0xf3], //             jmp wait
];

export function flatOptions(code: readonly number[], more: Partial<VmOptions> = {}): VmOptions {
  return { memory: "1M", kernel: Uint8Array.from(code), loadAddress: 0x1000, ...more };
}

/** A machine with that code, which is not started yet. */
export function flatMachine(code: readonly number[], more: Partial<VmOptions> = {}): Promise<VirtualMachine> {
  return createVm(flatOptions(code, more));
}

/** Runs that code to its end; returns the ending and its output on COM1. */
export async function runFlat(code: readonly number[], more: Partial<VmOptions> = {}) {
  await using vm = await flatMachine(code, more);
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = new Promise((resolve) => vm.serial.once("end", resolve));
  await vm.start();
  const ending = await vm.exited;
  await closed;
  return { ending, text: Buffer.concat(chunks).toString(), stats: vm.stats() };
}
