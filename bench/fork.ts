/**
 * The same as bench/snapshot for a guest of some bytes, on any KVM: what a restore,
 * a fork and a rewind cost in this process besides their pages.
 *
 *   npm run bench -- fork [--json FILE]
 *
 * The peer is our own createVm with the same guest, up to its first exit.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createVm, restoreVm } from "vmexit";
import { nextExit } from "./support/first-exit.ts";
import { scratchFolder } from "./support/guest.ts";
import { Results } from "./support/results.ts";

const ROUNDS = Number(process.env.VMEXIT_BENCH_ROUNDS ?? 51);
const PAGES = 1000;
const REWIND_MS = 5;

/** `next: out 0x80, al; jmp next` */
const options = { memory: "256M", kernel: Uint8Array.of(0xe6, 0x80, 0xeb, 0xfc), loadAddress: 0x1000 };
const one = Uint8Array.of(1);
const dir = join(scratchFolder(), "saved");

const boots: number[] = [];
const restores: number[] = [];
const forks: number[] = [];
const rewinds: number[] = [];
const work: number[] = [];
const empty: number[] = [];

await using vm = await createVm(options);
await vm.start();
await vm.snapshot({ dir });
await vm.mark();
for (let round = 0; round < ROUNDS; round++) {
  let start = performance.now();
  const fresh = await createVm(options);
  await fresh.start();
  boots.push((await nextExit(fresh)) - start);
  await fresh.stop();

  start = performance.now();
  const restored = await restoreVm(dir);
  await restored.resume();
  restores.push((await nextExit(restored)) - start);
  await restored.stop();

  start = performance.now();
  const [child] = await vm.fork(1);
  forks.push((await nextExit(child)) - start);
  await child.stop();

  await vm.pause(); // so that all CPU time is that of the rewind
  for (let page = 0; page < PAGES; page++) vm.memory.write(2 ** 20 + page * 5 * 4096, one);
  const before = process.cpuUsage();
  rewinds.push((await vm.rewind()).pauseMs);
  const { user, system } = process.cpuUsage(before);
  work.push((user + system) / 1000);
  empty.push((await vm.rewind()).pauseMs);
  await vm.resume();
}
rmSync(dir, { recursive: true });

const results = new Results();
const own = { peer: boots, peerName: "createVm, to the first exit" };
results.add("restore to the first exit", "ms", { ours: restores, ...own });
results.add("fork(1), to the first exit of the copy", "ms", { ours: forks, ...own });
const allowed = { peer: REWIND_MS, peerName: "what is allowed" };
results.add(`rewind of ${PAGES} pages: CPU time`, "ms", { ours: work, ...allowed }, { goal: 1 });
results.add(`rewind of ${PAGES} pages`, "ms", { ours: rewinds, ...allowed });
results.add("rewind of no page", "ms", { ours: empty, ...allowed });
console.log(`fork: medians of ${ROUNDS} rounds`);
results.finish();
