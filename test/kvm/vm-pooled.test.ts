/** Machines that share their threads: nobody waits for another one's guest, and nothing is weaker than on threads of their own. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createVm, type VirtualMachine, type VmOptions } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import {
  ECHO,
  FLOOD,
  FOR_EVER,
  flatOptions,
  outByte,
  POWER_OFF,
  say,
  TRIPLE_FAULT,
} from "../support/flat-machine.ts";

const pooled = (code: readonly number[], more: Partial<VmOptions> = {}) =>
  createVm({ ...flatOptions(code), threads: "pooled", ...more });

/** out 0x80, al, without end */
const EXITS = [...outByte(0x80, 1), 0xee, 0xeb, 0xfd];

async function started(count: number, code: readonly number[], more: Partial<VmOptions> = {}) {
  const machines = await Promise.all(Array.from({ length: count }, () => pooled(code, more)));
  for (const vm of machines) await vm.start();
  return machines;
}

async function answers(vm: VirtualMachine, text: string): Promise<void> {
  const heard = vm.serial.waitFor(text, { timeoutMs: patience(30_000) });
  vm.serial.write(text);
  await heard;
}

const stopAll = (machines: readonly VirtualMachine[]) => Promise.all(machines.map((vm) => vm.stop()));

test("consoles answer while other machines exit for ever, and print for ever to readers that do not come", async () => {
  const echoes = await started(20, [...say("!"), ...ECHO]);
  const busy = [...(await started(2, EXITS)), ...(await started(2, FLOOD))];
  await Promise.all(echoes.map((vm) => vm.serial.waitFor("!", { timeoutMs: patience(30_000) })));
  for (const text of ["one", "two"]) await Promise.all(echoes.map((vm) => answers(vm, text)));
  const before = busy.map((vm) => vm.stats().totalExits);
  await expect
    .poll(() => busy.slice(0, 2).every((vm, n) => vm.stats().totalExits > before[n]), {
      timeout: patience(20_000),
    })
    .toBe(true);
  await stopAll([...echoes, ...busy]);
}, 300_000);

test("what was printed while nobody read comes whole and in order", async () => {
  const lines = Array.from({ length: 26 }, (_, n) => String.fromCharCode(97 + n));
  // 26 times 8192 bytes, three times what the ring holds.
  const code = lines.flatMap((letter) => [
    ...[0xb9, 0x00, 0x20, 0xba, 0xf8, 0x03, 0xb0, letter.charCodeAt(0)], // mov cx, 8192; mov dx, 0x3f8; mov al, letter
    ...[0xee, 0xe2, 0xfd], // out dx, al; loop
  ]);
  const vm = await pooled([...code, ...POWER_OFF]);
  const other = await pooled([...say("!"), ...ECHO]);
  await vm.start();
  await other.start();
  await answers(other, "here");
  let text = "";
  for await (const chunk of vm.serial) text += chunk;
  expect(text).toBe(lines.map((letter) => letter.repeat(8192)).join(""));
  await stopAll([vm, other]);
});

test("a machine that crashes, or is stopped, leaves the others as they are", async () => {
  const [echo] = await started(1, [...say("!"), ...ECHO]);
  for (let round = 0; round < 3; round++) {
    const [crash, busy, off] = await Promise.all([pooled(TRIPLE_FAULT), pooled(FOR_EVER), pooled(POWER_OFF)]);
    for (const vm of [crash, busy, off]) await vm.start();
    expect(await crash.exited).toMatchObject({ reason: "crash" });
    expect(await off.exited).toMatchObject({ reason: "poweroff" });
    await answers(echo, `round ${round}`);
    await stopAll([crash, busy, off]);
  }
  await echo.stop();
});

test("CPUs of one machine on several threads pause, go on and end together", async () => {
  const [vm] = await started(1, [...say("!"), ...EXITS], { cpus: 3 });
  await vm.serial.waitFor("!", { timeoutMs: patience(30_000) });
  for (let round = 0; round < 5; round++) {
    await vm.pause();
    const { totalExits } = vm.stats();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(vm.stats().totalExits).toBe(totalExits);
    await vm.resume();
    await expect.poll(() => vm.stats().totalExits, { timeout: patience(20_000) }).toBeGreaterThan(totalExits);
  }
  await vm.stop();
});

test("a copy of a machine shares threads without being asked, and its copies are what it was", async () => {
  const [parent] = await started(1, [...say("!"), ...ECHO], { threads: "own" });
  await parent.serial.waitFor("!", { timeoutMs: patience(30_000) });
  await answers(parent, "before");
  const workers = () => readdirSync("/proc/self/task").length;
  const first = await createVm({ ...flatOptions([...say("!"), ...ECHO]) }); // "auto", beside a machine with its own
  await first.start();
  const before = workers();
  const more = await Promise.all(
    Array.from({ length: 8 }, () => createVm(flatOptions([...say("!"), ...ECHO]))),
  );
  for (const vm of more) await vm.start();
  await Promise.all(more.map((vm) => answers(vm, "here")));
  // A thread of 64 KiB for each vCPU, one of KVM's, and none of Node's beyond the pool's.
  expect(workers() - before).toBeLessThanOrEqual(2 * more.length + 8);
  await stopAll([parent, first, ...more]);
});

test("a machine with a disk and a random number generator keeps nothing open on the threads that it shared", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-pooled-"));
  const file = join(folder, "disk");
  writeFileSync(file, new Uint8Array(2 ** 20));
  const stays = await pooled(FOR_EVER, { rng: true, drives: [{ file, readOnly: true }] });
  await stays.start();
  const one = async () => {
    const [vm] = await started(1, [...say("!"), ...ECHO], { rng: true, drives: [{ file, readOnly: true }] });
    await answers(vm, "here");
    await vm.stop();
  };
  await one();
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  for (let round = 0; round < 5; round++) await one();
  await expect.poll(open, { timeout: patience(10_000) }).toBeLessThanOrEqual(before);
  await stays.stop();
  rmSync(folder, { recursive: true });
});

test("a thread goes from machine to machine, shared or not, and no role is lost on the way", async () => {
  const kinds = ["pooled", "own", "pooled", "auto"] as const;
  const one = async (n: number) => {
    const vm = await pooled(EXITS, { threads: kinds[n % 4], cpus: 1 + (n % 2), rng: n % 3 === 0 });
    await vm.start();
    await expect
      .poll(() => vm.stats().totalExits, { timeout: patience(20_000), interval: 1 })
      .toBeGreaterThan(0);
    await vm.stop();
  };
  for (let n = 0; n < 40; n += 2) {
    await one(n);
    await Promise.all([one(n + 1), one(n + 2)]);
  }
}, 300_000);

test("threads: what waits for the program cannot share a thread", async () => {
  const device = { port: 0x300, length: 1, handlers: {} };
  await expect(pooled(FOR_EVER, { devices: [device] })).rejects.toThrow(
    'threads: "pooled" needs a machine without',
  );
  const source = { size: 512, read() {}, write() {} };
  await expect(pooled(FOR_EVER, { drives: [{ source }] })).rejects.toThrow(
    'threads: "pooled" needs a machine',
  );
});
