/** What the clocks of a guest show after the machine was saved for some seconds. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { type RestoreOptions, restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { flatMachine, inDword } from "../support/flat-machine.ts";

const PM_TIMER = 0x608;
const PM_HZ = 3_579_545;
const WAIT_MS = 20_000;
const SAVED_MS = 3000;

const folder = mkdtempSync(join(tmpdir(), "vmexit-clock-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** out COM1, al four times, for each byte of eax. */
const PRINT_EAX = [0xba, 0xf8, 0x03, ...[1, 2, 3, 4].flatMap(() => [0xee, 0x66, 0xc1, 0xe8, 0x08])];
/** For each byte of COM1 prints the ACPI timer and the TSC: 4 and 8 bytes. */
const CLOCKS = [
  ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8], // wait: mov dx, 3fd; in al, dx; test al, 1; jz wait
  ...[0xba, 0xf8, 0x03, 0xec], // mov dx, 3f8; in al, dx
  ...inDword(PM_TIMER),
  ...[0x66, 0x89, 0xc3, 0x0f, 0x31, 0x66, 0x89, 0xc1, 0x66, 0x89, 0xd6], // mov ebx, eax; rdtsc; mov ecx, eax; mov esi, edx
  ...[0x66, 0x89, 0xd8, ...PRINT_EAX], // mov eax, ebx
  ...[0x66, 0x89, 0xc8, ...PRINT_EAX], // mov eax, ecx
  ...[0x66, 0x89, 0xf0, ...PRINT_EAX], // mov eax, esi
];
const AGAIN = [0xe9, ...word(-(CLOCKS.length + 3))]; // jmp wait

function word(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff];
}

interface Times {
  readonly timer: number;
  readonly tsc: bigint;
}

async function times(vm: VirtualMachine): Promise<Times> {
  const bytes: number[] = [];
  const add = (chunk: Buffer) => bytes.push(...chunk);
  vm.serial.on("data", add);
  vm.serial.write("?");
  if (vm.state === "paused") await vm.resume();
  await expect.poll(() => bytes.length, { timeout: patience(WAIT_MS) }).toBe(12);
  vm.serial.off("data", add);
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return { timer: view.getUint32(0, true), tsc: view.getBigUint64(4, true) };
}

/** Seconds by the ACPI timer, and counts of the TSC. */
function between(from: Times, to: Times): { seconds: number; ticks: number } {
  return {
    seconds: ((to.timer - from.timer) >>> 0) / PM_HZ,
    ticks: Number(BigInt.asIntN(64, to.tsc - from.tsc)),
  };
}

test("the clocks of a restored machine go on from where they were, or show the time that has passed", async () => {
  const dir = join(folder, "saved");
  await using vm = await flatMachine([...CLOCKS, ...AGAIN]);
  await vm.start();
  const first = await times(vm);
  await sleep(500);
  const saved = await times(vm);
  const { seconds, ticks } = between(first, saved);
  const ticksPerSecond = ticks / seconds;
  await vm.pause();
  await vm.snapshot({ dir });
  await vm.stop();
  await sleep(SAVED_MS);

  const after = async (options: RestoreOptions) => {
    await using restored = await restoreVm(dir, options);
    return between(saved, await times(restored));
  };
  const advanced = await after({ clock: "advance" });
  const continued = await after({});
  expect(advanced.seconds).toBeGreaterThan(SAVED_MS / 1000);
  expect(advanced.ticks / ticksPerSecond).toBeGreaterThan((SAVED_MS / 1000) * 0.9);
  expect(continued.seconds).toBeLessThan(SAVED_MS / 1000);
  // Not every KVM lets the TSC be set: a software KVM shows the host's, which has run on.
  expect([continued.seconds > 0, continued.ticks > 0]).toEqual([true, true]);
});
