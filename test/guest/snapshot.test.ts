/** Linux that is saved and continues: nothing that it computes, stores or measures shows it. */
import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { SCRIPT, TROUBLE } from "../support/checksum-guest.ts";
import { bootMs, Scratch, ScriptGuest } from "../support/guest.ts";
import { random } from "../support/random.ts";

/** Snapshots of one guest. */
const ROUNDS = Number(process.env.VMEXIT_SNAPSHOT_ROUNDS ?? "3");

/** No more than the host has: in the lab, a guest with more CPUs stalls, of any monitor. */
const MANY_CPUS = Math.max(2, Math.min(4, availableParallelism()));
/** Of one test, with a guest that boots. */
const TIMEOUT_MS = patience(300_000 + 10_000 * ROUNDS);

/** All that a machine prints, up to its end. */
function recorded(vm: VirtualMachine): Promise<string> {
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => vm.serial.once("end", () => resolve(Buffer.concat(chunks).toString())));
}

test.each([1, MANY_CPUS])(
  `with %i CPUs, ${ROUNDS} snapshots at random moments change nothing`,
  async (cpus) => {
    using scratch = new Scratch();
    // The disk itself is not in a snapshot: what the guest has written has to be there when it continues.
    const drives = [{ file: scratch.rootDisk(), format: "raw" }] as const;
    const guest = await ScriptGuest.start(SCRIPT, { cpus, memory: "128M", drives });
    let vm = guest.vm;
    const texts = [recorded(vm)];
    await vm.serial.waitFor(/n 3 /, { timeoutMs: bootMs() });
    const next = random(cpus);
    for (let round = 0; round < ROUNDS; round++) {
      await sleep(next() * 1000);
      await vm.pause();
      const dir = scratch.path("snapshot");
      await vm.snapshot({ dir });
      await vm.stop();
      vm = await restoreVm(dir, { drives });
      texts.push(recorded(vm));
      await vm.resume();
      await vm.serial.waitFor(/n \d+ /, { timeoutMs: bootMs() });
    }
    await vm.serial.waitFor(/disk good/, { timeoutMs: bootMs() });
    await vm.stop();

    const lines = (await Promise.all(texts)).join("").replaceAll("\r", "").split("\n").slice(0, -1);
    const numbers = lines.flatMap(
      (line) => /^n (\d+) (\d+) ([\d.]+)$/.exec(line)?.slice(1).map(Number) ?? [],
    );
    let sum = 0;
    let uptime = 0;
    for (let n = 0; 3 * n < numbers.length; n++) {
      sum = (sum * 31 + n + 1) % 1_000_003;
      expect(numbers.slice(3 * n, 3 * n + 2)).toEqual([n + 1, sum]);
      expect(numbers[3 * n + 2]).toBeGreaterThanOrEqual(uptime);
      uptime = numbers[3 * n + 2];
    }
    expect(numbers.length).toBeGreaterThan(3 * ROUNDS);
    expect(lines).toContain("disk good");
    expect(lines.join("\n")).not.toMatch(TROUBLE);
  },
  TIMEOUT_MS,
);
