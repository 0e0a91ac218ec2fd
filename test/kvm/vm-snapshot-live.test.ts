/** Machines that run on while they are saved, and snapshots that continue each other. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { BlkGuest, done, full } from "../support/blk-guest.ts";
import { FOR_EVER, flatMachine, inByte, RESET, say } from "../support/flat-machine.ts";
import { random } from "../support/random.ts";

const WAIT_MS = patience(20_000);
const WAIT = { timeout: WAIT_MS };
const folder = mkdtempSync(join(tmpdir(), "vmexit-live-"));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;
const place = () => join(folder, `snapshot-${made++}`);

const FIRST = 0x2_0000;
const PAGES = 128;
/** Counts in ECX, and writes each number to the next of 128 pages, around and around. */
const WALK = [
  ...[0x66, 0x31, 0xc9], // xor ecx, ecx
  ...[0xb8, 0x00, 0x20], // next: mov ax, 2000
  ...[0x8e, 0xd8, 0x66, 0x41, 0x66, 0x89, 0x0e, 0x00, 0x00], // page: mov ds, ax; inc ecx; mov [0], ecx
  ...[0x05, 0x00, 0x01, 0x3d, 0x00, 0xa0, 0x72, 0xef, 0xeb, 0xea], // add ax, 100; cmp ax, a000; jb page; jmp next
];

/** What the pages of a paused machine have, and how far it has counted. */
async function walked(vm: VirtualMachine): Promise<{ numbers: number[]; count: number }> {
  const wasRunning = vm.state === "running";
  if (wasRunning) await vm.pause();
  const numbers = Array.from({ length: PAGES }, (_, page) => {
    return Buffer.from(vm.memory.read(FIRST + page * 4096, 4)).readUInt32LE();
  });
  const { rcx } = vm.vcpus[0].registers();
  if (wasRunning) await vm.resume();
  return { numbers, count: Number(rcx) };
}

/** Waits until each page was written. */
async function everywhere(vm: VirtualMachine): Promise<void> {
  await expect.poll(async () => (await walked(vm)).numbers.at(-1), WAIT).toBeGreaterThan(0);
}

/** Pages and registers are of one moment: each number is one more than that of the page before, but at one place. */
function expectOneMoment({ numbers, count }: { numbers: number[]; count: number }): void {
  const newest = Math.max(...numbers);
  expect([newest, newest + 1]).toContain(count); // it may be between the two instructions
  const at = numbers.indexOf(newest);
  const expected = numbers.map((_, page) => newest - ((at - page + PAGES) % PAGES));
  expect(numbers).toEqual(expected);
}

async function started(code = WALK): Promise<VirtualMachine> {
  const vm = await flatMachine(code);
  await vm.start();
  await everywhere(vm);
  return vm;
}

/** Restores a snapshot, and checks it; returns how far its guest had counted. */
async function checked(dir: string): Promise<number> {
  await using vm = await restoreVm(dir, { verify: true });
  const then = await walked(vm);
  expectOneMoment(then);
  await vm.resume();
  await sleep(5);
  await vm.pause();
  const now = await walked(vm);
  expectOneMoment(now);
  expect(now.count).toBeGreaterThanOrEqual(then.count);
  return then.count;
}

test("a machine that runs while it is saved is saved as it was at one moment, in the pause", async () => {
  await using vm = await started();
  const next = random(8);
  let last = 0;
  for (let round = 0; round < 10; round++) {
    await sleep(next() * 10);
    const seen: string[] = [];
    for (const event of ["paused", "resumed"] as const) vm.on(event, () => seen.push(event));
    const { count } = await walked(vm);
    seen.length = 0;
    const dir = place();
    const { pauseMs, parent, ramBytes } = await vm.snapshot({ dir, stop: false });
    expect([vm.state, seen, parent]).toEqual(["running", [], undefined]);
    expect(pauseMs).toBeGreaterThan(0);
    expect(ramBytes).toBeGreaterThanOrEqual(PAGES * 4096);
    const saved = await checked(dir);
    expect(saved).toBeGreaterThanOrEqual(count);
    expect(saved).toBeGreaterThanOrEqual(last);
    last = saved;
  }
});

test.each([true, false])("with diff, only pages that were written are saved (stop: %s)", async (stop) => {
  const beside = mkdtempSync(join(folder, "chain-"));
  await using vm = await started();
  vm.memory.write(0x1_0000, new Uint8Array(0x8000).fill(7)); // eight pages that nobody writes again
  vm.memory.write(0x1_9000, Uint8Array.of(1));
  const dirs = ["a", "b", "c", "d"].map((name) => join(beside, name));
  const whole = await vm.snapshot({ dir: dirs[0], diff: true, stop });
  expect([whole.parent, whole.ramBytes > (PAGES + 8) * 4096]).toEqual([undefined, true]);
  vm.memory.write(0x1_9000, Uint8Array.of(0)); // a page of zeros, from now on
  vm.memory.write(0x1_a000, Uint8Array.of(2));
  for (const n of [1, 2, 3]) {
    const { parent, ramBytes, pauseMs } = await vm.snapshot({ dir: dirs[n], diff: true, stop });
    expect([parent, pauseMs > 0]).toEqual([dirs[n - 1], true]);
    expect(ramBytes).toBeLessThanOrEqual((PAGES + 6) * 4096);
    await sleep(5);
  }
  const counts: number[] = [];
  for (const dir of dirs) counts.push(await checked(dir));
  expect(counts).toEqual(counts.toSorted((a, b) => a - b));
  const last = await restoreVm(dirs[3]);
  expect([...last.memory.read(0x1_0000, 0x8000)].every((byte) => byte === 7)).toBe(true);
  expect([last.memory.read(0x1_9000, 1)[0], last.memory.read(0x1_a000, 1)[0]]).toEqual([0, 2]);
  // What was restored from a chain is a machine like any other.
  const [copy] = await last.fork(1);
  await last.snapshot({ dir: join(beside, "e") });
  await last.stop();
  expect([copy.memory.read(0x1_7fff, 1)[0], copy.memory.read(0x1_9000, 1)[0]]).toEqual([7, 0]);
  expectOneMoment(await walked(copy));
  await copy.stop();
  await checked(join(beside, "e"));
  const elsewhere = join(folder, `moved-${stop}`);
  cpSync(beside, elsewhere, { recursive: true });
  await checked(join(elsewhere, "c"));
});

test("each file of a chain that was altered, replaced or removed is named", async () => {
  const beside = mkdtempSync(join(folder, "broken-"));
  const dirs = ["a", "b", "c"].map((name) => join(beside, name));
  const vm = await started();
  for (const dir of dirs) await vm.snapshot({ dir, diff: true });
  await vm.stop();
  for (const dir of dirs.slice(0, 2)) {
    for (const name of ["machine.json", "state"]) {
      const file = join(dir, name);
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 1));
      await expect(restoreVm(dirs[2])).rejects.toMatchObject({ code: "ESNAPSHOT", path: file });
      writeFileSync(file, bytes);
    }
    const ram = join(dir, "ram");
    const bytes = readFileSync(ram);
    writeFileSync(ram, bytes.with(FIRST, bytes[FIRST] ^ 1));
    await expect(restoreVm(dirs[2], { verify: true })).rejects.toMatchObject({
      code: "ESNAPSHOT",
      path: ram,
    });
    writeFileSync(ram, bytes);
    await checked(dirs[2]);
    renameSync(dir, `${dir}-away`);
    await expect(restoreVm(dirs[2])).rejects.toThrow(join(dir, "state"));
    cpSync(dir === dirs[0] ? dirs[1] : `${dirs[0]}`, dir, { recursive: true });
    await expect(restoreVm(dirs[2])).rejects.toThrow(
      /is not the snapshot that .* continues: it was replaced or altered/,
    );
    rmSync(dir, { recursive: true });
    renameSync(`${dir}-away`, dir);
  }
});

test("a snapshot that could not be restored is not made; a reset begins a new chain", async () => {
  const beside = mkdtempSync(join(folder, "refused-"));
  const code = [...say("!"), ...inByte(0x3fd), 0xa8, 0x01, 0x74, 0xf8, ...RESET, ...FOR_EVER];
  await using vm = await flatMachine(code);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
  const dirs = ["a", "b", "c"].map((name) => join(beside, name));
  await vm.snapshot({ dir: dirs[0], diff: true });
  await vm.snapshot({ dir: dirs[1], diff: true });
  const refused = (dir: string) => expect(vm.snapshot({ dir, diff: true })).rejects;
  await refused(dirs[0]).toThrow(/it would replace a snapshot that it continues/);
  await refused(dirs[1]).toThrow(/it would replace a snapshot that it continues/);
  await refused(place()).toThrow(/so it has to be beside it, in .*refused-/);
  await vm.snapshot({ dir: dirs[0] });
  await refused(dirs[2]).toThrow(/refused-.*a: .*c cannot continue it: it was deleted or replaced/);
  expect(readdirSync(beside)).toEqual(["a", "b"]);
  vm.serial.write("x");
  await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
  expect((await vm.snapshot({ dir: dirs[2], diff: true })).parent).toBeUndefined();
  await (await restoreVm(dirs[2])).stop();
});

test("a machine that goes back to a mark between two snapshots is saved as it is", async () => {
  const beside = mkdtempSync(join(folder, "mark-"));
  await using vm = await started();
  await vm.mark();
  await vm.snapshot({ dir: join(beside, "a"), diff: true });
  await sleep(5);
  await vm.snapshot({ dir: join(beside, "b"), diff: true });
  await vm.rewind();
  await vm.snapshot({ dir: join(beside, "c"), diff: true, stop: false });
  for (const name of ["a", "b", "c"]) await checked(join(beside, name));
});

test("a machine that is stopped while it is saved leaves nothing behind", async () => {
  const beside = mkdtempSync(join(folder, "stopped-"));
  for (let round = 0; round < 5; round++) {
    const vm = await started();
    const save = vm.snapshot({ dir: join(beside, "a"), stop: false }).then(
      () => "saved",
      (error: Error) => error.message,
    );
    await sleep(round * 2);
    await vm.stop();
    expect(await save).toMatch(/saved|stopped|ended/);
    expect(readdirSync(beside).filter((name) => name !== "a")).toEqual([]);
  }
});

test("a machine that is reset while its snapshot gets its checksums is saved as it was", async () => {
  const vm = await flatMachine(WALK, { rng: true });
  await vm.start();
  await everywhere(vm);
  const dir = place();
  const save = vm.snapshot({ dir });
  await vm.reset();
  await save;
  await vm.stop();
  await checked(dir);
});

test("what a guest wrote to a disk before the pause is in the snapshot", async () => {
  const file = join(folder, "disk.raw");
  writeFileSync(file, Buffer.alloc(2 ** 20, 0x2e));
  const drive = { file, format: "raw", snapshot: true } as const;
  await using guest = await BlkGuest.start(drive);
  expect(await guest.write(8, 4, 0x61)).toBe(done(4));
  const dir = place();
  await guest.vm.snapshot({ dir, stop: false });
  expect(await guest.write(8, 4, 0x62)).toBe(done(4));
  await using vm = await restoreVm(dir, { drives: [drive] });
  vm.serial.resume();
  await vm.resume();
  const answer = vm.serial.waitFor(/([^\n]*)\n/, { timeoutMs: WAIT_MS });
  vm.serial.write("r 8 5\n");
  expect((await answer)[1]).toBe(`${full(4, 0x61)} ${full(1, 0x2e)}`);
});

/** Bytes of a file that this process has mapped, and touched. */
function touchedOf(file: string): number {
  const maps = readFileSync("/proc/self/smaps", "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const found = maps.filter((map) => map.slice(0, map.indexOf("\n")).endsWith(` ${file}`));
  return 1024 * found.reduce((sum, map) => sum + Number(/^Rss: +(\d+) kB/m.exec(map)?.[1]), 0);
}

test("the pages that the first machine touched are there when the next is restored", async () => {
  const vm = await started();
  const dir = place();
  await vm.snapshot({ dir });
  await vm.stop();
  const ram = join(dir, "ram");
  const list = join(dir, "working-set");
  const run = async () => {
    const copy = await restoreVm(dir, { prefetch: true });
    const touched = touchedOf(ram);
    await copy.resume();
    await everywhere(copy);
    await copy.pause();
    expectOneMoment(await walked(copy));
    await copy.stop();
    return touched;
  };
  const before = await run();
  await expect.poll(() => readdirSync(dir), WAIT).toContain("working-set");
  const after = await run();
  expect(after - before).toBeGreaterThanOrEqual((PAGES / 2) * 4096);
  // A damaged list is ignored, and written anew.
  const good = readFileSync(list);
  writeFileSync(list, good.subarray(0, 40));
  await run();
  await expect.poll(() => readFileSync(list).length, WAIT).toBeGreaterThan(40);
  await checked(dir);
  await (await restoreVm(dir)).stop();
});
