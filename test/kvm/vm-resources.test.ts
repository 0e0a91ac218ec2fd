/** What machines leave behind in the program that made them: nothing. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { VmOptions } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { FOR_EVER, flatMachine, POWER_OFF, say } from "../support/flat-machine.ts";
import { guestMappings, openDescriptors } from "../support/process-resources.ts";

/** What machines are made of, in this process. */
function resources() {
  const descriptors = openDescriptors();
  return {
    kvm: descriptors.filter((target) => /kvm|guest-ram/.test(target)),
    mappings: guestMappings(),
    events: descriptors.length,
    threads: threads().length,
  };
}

const threads = () => readdirSync("/proc/self/task");

/** Memory goes when V8 has let go of the last view of it, some turns of the event loop after close(). */
async function expectNoMachine() {
  await expect.poll(resources, { timeout: patience(20_000) }).toMatchObject({ kvm: [], mappings: [] });
  return resources();
}

test("a machine that cannot be made leaves nothing behind", async () => {
  await expectNoMachine();
  const bad: Partial<VmOptions>[] = [
    { kernel: "/nonexistent" },
    { kernel: new Uint8Array() },
    { drives: [{ file: "/nonexistent" }] },
    { kvm: "/dev/null" },
    { cmdline: "quiet" },
    { cpus: 2, initrd: new Uint8Array(10) },
  ];
  for (const options of bad) await expect(flatMachine(POWER_OFF, options)).rejects.toThrow();
  await expectNoMachine();
});

test("50 machines that were made, run and closed leave no descriptor, thread or mapping behind", async () => {
  const endings: Partial<VmOptions>[] = [
    {},
    { cpus: 2 },
    { memoryBacking: "anonymous" },
    { rng: true },
    { cpus: 3 },
  ];
  const one = async (n: number) => {
    const vm = await flatMachine([...say("!"), ...(n % 2 === 0 ? POWER_OFF : FOR_EVER)], endings[n % 5]);
    if (n % 7 === 6) return vm.close(); // never started
    await vm.start();
    await vm.serial.waitFor("!");
    if (n % 2 === 0) await vm.exited;
    await vm.close();
  };
  const before = await expectNoMachine();
  for (let n = 0; n < 50; n++) await one(n);
  const after = await expectNoMachine();
  expect(after.events).toBeLessThanOrEqual(before.events + 5);
  // Threads wait some seconds for another machine.
  const left = () => threads().length;
  await expect.poll(left, { timeout: patience(20_000) }).toBeLessThanOrEqual(before.threads + 1);
}, 500_000);

test("a machine runs on the threads of one that has ended, which keep nothing of it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-resources-"));
  const disk = join(folder, "disk");
  writeFileSync(disk, new Uint8Array(2 ** 20));
  const options: Partial<VmOptions> = { cpus: 2, rng: true, drives: [{ file: disk }] };
  const open = () => readdirSync("/proc/self/fd").length;
  const one = async () => {
    await using vm = await flatMachine([...say("!"), ...FOR_EVER], options);
    await vm.start();
    await vm.serial.waitFor("!");
    return threads();
  };
  const first = await one();
  await expectNoMachine();
  const descriptors = open();
  const later = [await one(), await one()];
  await expectNoMachine();
  // KVM's own threads belong to a VM.
  const isOurs = (id: string) => first.includes(id);
  for (const each of later) expect(each.filter(isOurs).length).toBeGreaterThanOrEqual(first.length - 1);
  expect(open()).toBeLessThanOrEqual(descriptors);
  rmSync(folder, { recursive: true });
});
