/** A guest whose output shows whether anything that it computes, stores or measures was disturbed. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { restoreVm, type VirtualMachine, type VmOptions } from "vmexit";
import { bootMs, Scratch, ScriptGuest } from "./guest.ts";
import { random } from "./random.ts";

/**
 * Prints a running checksum and the uptime; beside it, a file is written and read back, past the page cache. The kernel's
 * messages are printed by a program: the kernel itself writes them into the middle of other lines.
 */
export const SCRIPT = `
dmesg -n 1; dmesg -c >/dev/null; (while :; do dmesg -c; sleep 1; done) &
mkdir -p /mnt; mount /dev/vda /mnt
(while :; do
  head -c 200000 /dev/urandom >/mnt/data; want=$(md5sum </mnt/data); sync; echo 3 >/proc/sys/vm/drop_caches
  [ "$(md5sum </mnt/data)" = "$want" ] && echo "disk good" || echo "disk BAD"
done) &
i=0; s=0
while :; do
  i=$((i+1)); s=$(((s*31+i)%1000003)); read up rest </proc/uptime; echo "n $i $s $up"
done`;

/** What it, or its kernel, prints then. */
export const TROUBLE = /BAD|soft lockup|clocksource|I\/O error|BUG|WARNING/;

/** All that a machine prints, up to its end. */
function recorded(vm: VirtualMachine): Promise<string> {
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => vm.serial.once("end", () => resolve(Buffer.concat(chunks).toString())));
}

/** Saves the guest at random moments, continues it from each snapshot, and expects that nothing shows it. */
export async function continuesExactly(rounds: number, options: Partial<VmOptions>): Promise<void> {
  using scratch = new Scratch();
  // The disk itself is not in a snapshot: what the guest has written has to be there when it continues.
  const drives = [{ file: scratch.rootDisk(), format: "raw" }] as const;
  const guest = await ScriptGuest.start(SCRIPT, { memory: "128M", drives, ...options });
  let vm = guest.vm;
  const texts = [recorded(vm)];
  await vm.serial.waitFor(/n 3 /, { timeoutMs: bootMs() });
  const next = random(options.cpus ?? 1);
  for (let round = 0; round < rounds; round++) {
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
  await vm.serial.waitFor(/disk good\r?\n/, { timeoutMs: bootMs() });
  await vm.stop();

  const printed = await Promise.all(texts);
  const text = printed.join("").replaceAll("\r", "");
  let sum = 0;
  let uptime = 0;
  let n = 0;
  let from = 0;
  for (const { 0: line, 1: number, 2: found, 3: up, index } of text.matchAll(/^n (\d+) (\d+) ([\d.]+)$/gm)) {
    sum = (sum * 31 + ++n) % 1_000_003;
    const around = () =>
      `after a line that is not there or wrong:\n${shown(printed, from, index + line.length)}`;
    if (Number(number) !== n || Number(found) !== sum) expect.fail(around());
    expect(Number(up)).toBeGreaterThanOrEqual(uptime);
    uptime = Number(up);
    from = index;
  }
  expect(n).toBeGreaterThan(rounds);
  expect(text).toContain("disk good\n");
  expect(text).not.toMatch(TROUBLE);
}

/** What is between two places of all that was printed, with a mark where a snapshot continued. */
function shown(printed: readonly string[], from: number, to: number): string {
  let at = 0;
  const parts = printed.map((piece) => {
    const text = piece.replaceAll("\r", "");
    const part = text.slice(Math.max(0, from - at), Math.max(0, to - at));
    const isAtStart = at > from && at <= to;
    at += text.length;
    return `${isAtStart ? "[a snapshot continues]" : ""}${part}`;
  });
  return parts.join("");
}
