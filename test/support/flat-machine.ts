/**
 * Machines whose guest is a few bytes of real-mode code, and instructions to compose
 * it of.
 *
 * The code is at 0x1000 with CS = DS = ES = SS = 0x100, so its data is at the offsets
 * for which it was assembled.
 */
import { createVm, type VirtualMachine, type VmOptions } from "vmexit";
import { printed } from "./printed.ts";

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

/** mov ecx, msr; mov eax, value; xor edx, edx; wrmsr */
export const wrmsr = (msr: number, value: number) => [
  ...[0x66, 0xb9, ...dword(msr)],
  ...[0x66, 0xb8, ...dword(value)],
  ...[0x66, 0x31, 0xd2, 0x0f, 0x30],
];
/** The local APIC in x2APIC mode, enabled. */
export const X2APIC = [...wrmsr(0x1b, 0xfee0_0d00), ...wrmsr(0x80f, 0x1ff)];

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

const timerHandler = [0xfe, 0xc3, 0x88, 0xd8, 0xba, 0xf8, 0x03, 0xee, ...wrmsr(0x80b, 0), 0xcf]; // inc bl; print it; EOI; iret
const timerStart = (handler: number) => [
  ...[0xfa, 0xbc, 0x00, 0x80, 0x31, 0xc0, 0x8e, 0xc0], // cli; mov sp, 8000; xor ax, ax; mov es, ax
  ...[0x26, 0xc7, 0x06, 0x00, 0x01, low(handler), low(handler >>> 8)], // vector 0x40
  ...[0x26, 0xc7, 0x06, 0x02, 0x01, 0x00, 0x01],
  ...X2APIC,
  ...[0xb3, 0xff, ...wrmsr(0x83e, 0xb), ...wrmsr(0x832, 0x2_0040), ...wrmsr(0x838, 2_000_000)], // periodic, 2 ms
  ...[0xfb, 0xf4, 0xeb, 0xfd], // sti; hlt; jmp
];
/** Counts from 0 on COM1: each interrupt of the local APIC's timer writes the next number. */
export const TIMER = [...timerStart(timerStart(0).length), ...timerHandler];

/** VMEXIT_TEST_THREADS=pooled runs the same tests on threads that serve several machines, where that is possible. */
function threads({ devices = [], drives = [] }: Partial<VmOptions>): Partial<VmOptions> {
  const choice = process.env.VMEXIT_TEST_THREADS;
  if (choice !== "pooled" && choice !== "own") return {};
  const waits = devices.length > 0 || drives.some(({ source }) => source !== undefined);
  return waits ? {} : { threads: choice };
}

export function flatOptions(code: readonly number[], more: Partial<VmOptions> = {}): VmOptions {
  return { memory: "1M", kernel: Uint8Array.from(code), loadAddress: 0x1000, ...threads(more), ...more };
}

/** A machine with that code, which is not started yet. */
export function flatMachine(code: readonly number[], more: Partial<VmOptions> = {}): Promise<VirtualMachine> {
  return createVm(flatOptions(code, more));
}

/** Runs that code to its end; returns the ending and its output on COM1. */
export async function runFlat(code: readonly number[], more: Partial<VmOptions> = {}) {
  await using vm = await flatMachine(code, more);
  const output = printed(vm);
  await vm.start();
  const ending = await vm.exited;
  return { ending, text: (await output).toString(), stats: vm.stats() };
}
