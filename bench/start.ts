/**
 * How soon a machine runs: guests of some bytes, on any KVM.
 *
 *   npm run bench -- start [--json FILE]
 *
 * The peers are `node -e 0`, and what is allowed.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createVm, type VmOptions } from "vmexit";
import { nextExit } from "./support/first-exit.ts";
import { scratchFolder } from "./support/guest.ts";
import { vmexit } from "./support/monitor.ts";
import { Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 21);
const FIRST_EXIT_MS = 5;

const scratch = scratchFolder();
const results = new Results();

// --- the command -----------------------------------------------------------------------

/** mov al, 0; out 0xf4, al: the machine ends. */
const ENDS = Uint8Array.of(0xb0, 0x00, 0xe6, 0xf4);
const kernel = join(scratch, "ends.bin");
writeFileSync(kernel, ENDS);

/** ms from the command to its end */
function timed(command: string, args: readonly string[]): number {
  const start = performance.now();
  const { error, status } = spawnSync(command, args, { stdio: "ignore" });
  if (error !== undefined || status === null) throw error ?? new Error(`${command} was killed`);
  return performance.now() - start;
}

const ends = vmexit("-kernel", kernel, "-load-address", "0x1000", "-m", "1M", "-display", "none");
const command: number[] = [];
const node: number[] = [];
for (let round = 0; round <= ROUNDS; round++) {
  const ours = timed(ends.command, ends.args);
  const bare = timed(process.execPath, ["-e", "0"]);
  if (round === 0) continue; // reads the files
  command.push(ours);
  node.push(bare);
}
results.add(
  "a guest of two instructions, by the command",
  "ms",
  { ours: command, peer: node, peerName: "node -e 0" },
  { goal: 1.5 },
);

// --- a program that has made a machine before ------------------------------------------

/** `next: out 0x80, al; jmp next` */
const BUSY = Uint8Array.of(0xe6, 0x80, 0xeb, 0xfc);
const allowed = { peer: FIRST_EXIT_MS, peerName: "what is allowed" };

/** Machines that are made one after the other, each as `kind` says. */
async function warm(kind: Required<VmOptions>["threads"]): Promise<{ created: number[]; running: number[] }> {
  const created: number[] = [];
  const running: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const start = performance.now();
    await using vm = await createVm({ memory: "1M", kernel: BUSY, loadAddress: 0x1000, threads: kind });
    const ready = performance.now();
    await vm.start();
    const first = await nextExit(vm);
    if (round === 0) continue;
    created.push(ready - start);
    running.push(first - start);
  }
  return { created, running };
}

const own = await warm("own");
// The threads of the pool are there as long as a machine uses them.
const stays = await Promise.all(
  Array.from({ length: 8 }, () =>
    createVm({ memory: "1M", kernel: BUSY, loadAddress: 0x1000, threads: "pooled" }),
  ),
);
const pooled = await warm("pooled");
for (const vm of stays) await vm.close();

for (const [kind, { created, running }] of Object.entries({ own, pooled })) {
  results.add(`createVm in a warm program, threads: ${kind}`, "ms", { ours: created, ...allowed });
  results.add(`to the first exit, threads: ${kind}`, "ms", { ours: running, ...allowed }, { goal: 1 });
}
console.log(`start: medians of ${ROUNDS} rounds`);
results.finish();
