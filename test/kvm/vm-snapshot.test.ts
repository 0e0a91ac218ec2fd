/** Machines that are saved and continue, with guests of a few bytes. */
import { fork } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { BlkGuest, done, full, MOST_BLOCKS } from "../support/blk-guest.ts";
import {
  ECHO,
  exitWith,
  FOR_EVER,
  flatMachine,
  inByte,
  inDword,
  outByte,
  RESET,
  say,
  TIMER,
  wrmsr,
  X2APIC,
} from "../support/flat-machine.ts";
import { MemorySource } from "../support/memory-source.ts";
import { random } from "../support/random.ts";

const ROUNDS = 50;
const WAIT = { timeout: patience(20_000) };

const folder = mkdtempSync(join(tmpdir(), "vmexit-snapshot-"));
afterAll(() => rmSync(folder, { recursive: true }));

let made = 0;
const place = () => join(folder, `snapshot-${made++}`);

/** 0, 1, 2 … on COM1: inc al; out dx, al; jmp */
const COUNT = [...outByte(0x3f8, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb];

/** Checks that bytes on a console go on counting, whichever machine they are from. */
class Counting {
  next = 0;
  wrong = 0;

  watch(vm: VirtualMachine): void {
    vm.serial.on("data", (chunk: Buffer) => {
      for (const byte of chunk) if (byte !== (this.next++ & 0xff)) this.wrong++;
    });
  }

  async some(): Promise<void> {
    const before = this.next;
    await expect.poll(() => this.next, WAIT).toBeGreaterThan(before);
  }
}

/** What a machine prints from now on. */
function output(vm: VirtualMachine): () => string {
  let text = "";
  vm.serial.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  return () => text;
}

/** Saves a machine, ends it, and makes it again. */
async function moved(vm: VirtualMachine, dir = place()): Promise<VirtualMachine> {
  await vm.snapshot({ dir });
  await vm.stop();
  return restoreVm(dir);
}

test(`a guest that counts goes on exactly, saved and restored ${ROUNDS} times at random moments`, async () => {
  const next = random(12);
  const counting = new Counting();
  const dir = place();
  let vm = await flatMachine(COUNT);
  counting.watch(vm);
  await vm.start();
  for (let round = 0; round < ROUNDS; round++) {
    await sleep(next() * 20);
    await vm.pause();
    const copy = await moved(vm, dir); // over the one before, on whose file the RAM lies
    counting.watch(copy);
    await copy.resume();
    await counting.some();
    vm = copy;
  }
  await vm.stop();
  expect(counting.wrong).toBe(0);
});

test("a machine that runs is saved without ending, and both go on from the same place", async () => {
  await using vm = await flatMachine(COUNT);
  const counting = new Counting();
  counting.watch(vm);
  await vm.start();
  await counting.some();
  const seen: string[] = [];
  for (const event of ["paused", "resumed"] as const) vm.on(event, () => seen.push(event));
  const dir = place();
  const { pauseMs, ramBytes } = await vm.snapshot({ dir });
  expect([vm.state, seen]).toEqual(["running", []]);
  expect(pauseMs).toBeGreaterThan(0);
  expect(ramBytes).toBeLessThan(64 * 1024);
  await counting.some();
  await vm.stop();
  expect(counting.wrong).toBe(0);
  const first: number[] = [];
  for (let copy = 0; copy < 2; copy++) {
    await using restored = await restoreVm(dir);
    expect([restored.state, restored.protocol, restored.name]).toEqual(["paused", "flat", "vm"]);
    const bytes: number[] = [];
    restored.serial.on("data", (chunk: Buffer) => bytes.push(...chunk));
    await restored.resume();
    await expect.poll(() => bytes.length, WAIT).toBeGreaterThan(300);
    expect(bytes.slice(0, 300)).toEqual(Array.from({ length: 300 }, (_, n) => (bytes[0] + n) & 0xff));
    first.push(bytes[0]);
  }
  expect(first[1]).toBe(first[0]);
});

test("memory, and registers of chips, are as they were", async () => {
  // Writes 0x5a to 0x7000 and to the UART's scratch register, says so, and prints both when it gets a byte.
  const code = [
    ...[0xb0, 0x5a, 0x31, 0xdb, 0x8e, 0xdb, 0xa2, 0x00, 0x70], // mov al, 5a; xor bx, bx; mov ds, bx; mov [7000], al
    ...outByte(0x3ff, 0x21),
    ...say("!"),
    ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb], // wait for DR
    ...[0xa0, 0x00, 0x70, 0xba, 0xf8, 0x03, 0xee], // mov al, [7000]; out
    ...inByte(0x3ff),
    ...[0xba, 0xf8, 0x03, 0xee],
    ...exitWith(1),
  ];
  const vm = await flatMachine(code);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: patience(20_000) });
  await using copy = await moved(vm);
  expect([...copy.memory.read(0x7000, 1)]).toEqual([0x5a]);
  const text = output(copy);
  await copy.resume();
  copy.serial.write("x");
  expect(await copy.exited).toEqual({ reason: "exit", status: 3 });
  expect(text()).toBe("\x5a\x21");
});

test("bytes in the UART's FIFO are read by the guest that continues", async () => {
  const vm = await flatMachine([...outByte(0x3fa, 1), ...say("!"), ...ECHO]);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: patience(20_000) });
  await vm.pause();
  vm.serial.write("half full");
  await sleep(50);
  await using copy = await moved(vm);
  const text = output(copy);
  await copy.resume();
  await expect.poll(text, WAIT).toBe("half full");
});

test("a device's answer to the access that a pause interrupts reaches the guest, once", async () => {
  // Reads a port of the program's own as fast as it can, and prints how much each value is above the one before.
  const code = [
    ...[0x31, 0xdb], // xor bx, bx
    ...inDword(0x500), // loop:
    ...[0x66, 0x89, 0xc1], // mov ecx, eax
    ...[0x28, 0xd8, 0x88, 0xcb], // sub al, bl; mov bl, cl
    ...[0xba, 0xf8, 0x03, 0xee], // out 3f8, al
    ...[0xeb, 0xee], // jmp loop
  ];
  let reads = 0;
  const devices = [{ name: "counter", port: 0x500, length: 4, handlers: { read: () => ++reads } }];
  const next = random(3);
  let vm = await flatMachine(code, { devices });
  const steps: number[] = [];
  const watch = (machine: VirtualMachine) =>
    machine.serial.on("data", (chunk: Buffer) => steps.push(...chunk));
  const some = async () => {
    const before = steps.length;
    await expect.poll(() => steps.length, WAIT).toBeGreaterThan(before);
  };
  watch(vm);
  await vm.start();
  for (let round = 0; round < 10; round++) {
    await some();
    await sleep(next() * 10);
    const dir = place();
    await vm.pause();
    await vm.snapshot({ dir });
    await vm.stop();
    vm = await restoreVm(dir, { devices });
    watch(vm);
    await vm.resume();
  }
  await some();
  await vm.stop();
  expect(new Set(steps)).toEqual(new Set([1]));
});

test("a timer goes on: each of its interrupts comes once", async () => {
  const counting = new Counting();
  let vm = await flatMachine(TIMER);
  counting.watch(vm);
  await vm.start();
  const next = random(4);
  for (let round = 0; round < 10; round++) {
    await counting.some();
    await sleep(next() * 10);
    await vm.pause();
    vm = await moved(vm);
    counting.watch(vm);
    await vm.resume();
  }
  await counting.some();
  await vm.stop();
  expect(counting.wrong).toBe(0);
});

test("two CPUs go on, each at its own place", async () => {
  const count = (port: number) => [...outByte(port, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb];
  const boot = [...X2APIC, ...wrmsr(0x830, 0xc_4500), ...wrmsr(0x830, 0xc_4601), ...count(0x3f8)];
  // mov al, 1; xchg cs:[7f00], al: the second that comes here is the other CPU
  const code = [
    0xb0,
    1,
    0x2e,
    0x86,
    0x06,
    0x00,
    0x7f,
    0x84,
    0xc0,
    0x75,
    boot.length,
    ...boot,
    ...count(0x2f8),
  ];
  const countings = [new Counting(), new Counting()];
  const watch = (vm: VirtualMachine) => {
    countings[0].watch(vm);
    vm.serials[1].on("data", (chunk: Buffer) => {
      for (const byte of chunk) if (byte !== (countings[1].next++ & 0xff)) countings[1].wrong++;
    });
  };
  let vm = await flatMachine(code, { cpus: 2, serialPorts: 2 });
  watch(vm);
  await vm.start();
  const next = random(5);
  for (let round = 0; round < 20; round++) {
    for (const counting of countings) await counting.some();
    await sleep(next() * 10);
    await vm.pause();
    vm = await moved(vm);
    watch(vm);
    await vm.resume();
  }
  for (const counting of countings) await counting.some();
  await vm.stop();
  expect(countings.map(({ wrong }) => wrong)).toEqual([0, 0]);
});

/** Continues a BlkGuest whose snapshot was made; its answers come from the machine that is returned. */
async function answerOf(vm: VirtualMachine): Promise<string> {
  const answer = vm.serial.waitFor(/([^\n]*)\n/, { timeoutMs: patience(20_000) });
  vm.serial.resume();
  await vm.resume();
  return (await answer)[1];
}

test("requests in flight are completed before a machine is saved, and the guest learns of it afterwards", async () => {
  const source = new MemorySource(2 ** 20);
  let begun = 0;
  source.before.write = () => {
    begun++;
    return sleep(1000);
  };
  await using guest = await BlkGuest.start({ source });
  guest.begin(`w 8 ${MOST_BLOCKS.toString(16)} 61`);
  await expect.poll(() => begun, WAIT).toBeGreaterThan(0);
  const dir = place();
  await guest.vm.snapshot({ dir });
  await guest.vm.stop();
  expect(source.flushes).toBeGreaterThan(0);
  const copy = new MemorySource(2 ** 20);
  copy.bytes.set(source.bytes);
  await using vm = await restoreVm(dir, { drives: [{ source: copy }] });
  expect(await answerOf(vm)).toBe(done(MOST_BLOCKS));
  expect(copy.bytes.subarray(4096, 4096 * (1 + MOST_BLOCKS)).every((byte) => byte === 0x61)).toBe(true);
});

test("deferred requests of a full queue are served by the machine that continues", async () => {
  const source = new MemorySource(2 ** 20);
  let room = 3;
  source.before.write = () => {
    if (room-- <= 0) throw Object.assign(new Error("full"), { code: "ENOSPC" });
  };
  await using guest = await BlkGuest.start({ source, werror: "stop" });
  const paused = guest.paused();
  guest.begin(`w 8 ${MOST_BLOCKS.toString(16)} 61`);
  await paused;
  const dir = place();
  await guest.vm.snapshot({ dir });
  await guest.vm.stop();
  const copy = new MemorySource(2 ** 20);
  copy.bytes.set(source.bytes);
  await using vm = await restoreVm(dir, { drives: [{ source: copy }] });
  expect(await answerOf(vm)).toBe(done(MOST_BLOCKS));
  expect(copy.bytes.subarray(4096, 4096 * (1 + MOST_BLOCKS)).every((byte) => byte === 0x61)).toBe(true);
});

test("a drive's file has to be as it was; what went to an overlay is in the snapshot", async () => {
  const file = join(folder, "disk.raw");
  writeFileSync(file, Buffer.alloc(2 ** 20, 0x2e));
  await using guest = await BlkGuest.start({ file, format: "raw", snapshot: true });
  expect(await guest.write(8, 4, 0x61)).toBe(done(4));
  const dir = place();
  await guest.vm.snapshot({ dir });
  expect(await guest.write(8, 4, 0x62)).toBe(done(4));
  await guest.vm.stop();
  const drives = [{ file, format: "raw", snapshot: true } as const];
  await using vm = await restoreVm(dir, { drives });
  vm.serial.resume();
  await vm.resume();
  const answer = vm.serial.waitFor(/([^\n]*)\n/, { timeoutMs: patience(20_000) });
  vm.serial.write("r 8 5\n");
  expect((await answer)[1]).toBe(`${full(4, 0x61)} ${full(1, 0x2e)}`);
  await vm.stop();
  await expect(restoreVm(dir)).rejects.toThrow(/has 1 drives, and 0 are given: virtio-blk0 \(.*disk\.raw\)/);
  await expect(restoreVm(dir, { drives: [{ file, format: "raw" }] })).rejects.toThrow(/snapshot: true/);
  writeFileSync(file, Buffer.alloc(2 ** 20, 0x2f));
  await expect(restoreVm(dir, { drives })).rejects.toThrow(
    /virtio-blk0: .*disk\.raw is not as it was.*first bytes/,
  );
  const forced = await restoreVm(dir, { drives, driveFiles: "any" });
  await forced.stop();
});

test("a guest's own reset ends a machine that was restored without a kernel, and starts one with it", async () => {
  const code = [...say("!"), ...inByte(0x3fd), 0xa8, 0x01, 0x74, 0xf8, ...RESET, ...FOR_EVER];
  const vm = await flatMachine(code);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: patience(20_000) });
  const dir = place();
  await vm.snapshot({ dir });
  await vm.stop();
  const without = await restoreVm(dir);
  await without.resume();
  without.serial.write("x");
  expect(await without.exited).toEqual({ reason: "reset" });
  await using again = await restoreVm(dir, { kernel: Uint8Array.from(code), loadAddress: 0x1000 });
  await again.resume();
  again.serial.write("x");
  await again.serial.waitFor("!", { timeoutMs: patience(20_000) });
});

test("what a machine is made of is checked before anything starts, and named", async () => {
  const handlers = {};
  const devices = [{ name: "board", port: 0x500, length: 4, handlers }];
  const vm = await flatMachine(FOR_EVER, { devices });
  await vm.start();
  const dir = place();
  await vm.snapshot({ dir });
  await vm.stop();
  await expect(restoreVm(dir)).rejects.toThrow(/own\[0\] is something in the snapshot, and missing/);
  const moved = [{ name: "board", port: 0x510, length: 4, handlers }];
  await expect(restoreVm(dir, { devices: moved })).rejects.toThrow(
    /own\[0\]\.address is 1280 in the snapshot, and 1296/,
  );
  await expect(restoreVm(join(folder, "nothing"))).rejects.toMatchObject({ code: "ESNAPSHOT" });
});

test("a machine that cannot be saved says why; one that is not there, or has ended, too", async () => {
  await using vm = await flatMachine(FOR_EVER);
  await expect(vm.snapshot({ dir: place() })).rejects.toMatchObject({ code: "ESTATE" });
  await vm.start();
  const other = mkdtempSync(join(folder, "other-"));
  writeFileSync(join(other, "thesis.txt"), "");
  await expect(vm.snapshot({ dir: other })).rejects.toThrow(/thesis\.txt/);
  expect(readdirSync(other)).toEqual(["thesis.txt"]);
  await expect(vm.snapshot({ dir: join(folder, "no", "where") })).rejects.toThrow(/ENOENT/);
  expect(vm.state).toBe("running");
  await vm.stop();
  await expect(vm.snapshot({ dir: place() })).rejects.toMatchObject({ code: "ESTATE" });
});

test("a file that was cut short or altered is refused by name; altered RAM when it is asked for", async () => {
  const vm = await flatMachine(FOR_EVER);
  await vm.start();
  const dir = place();
  await vm.snapshot({ dir });
  await vm.stop();
  for (const name of ["machine.json", "state"]) {
    const file = join(dir, name);
    const bytes = readFileSync(file);
    for (const change of [
      () => truncateSync(file, bytes.length - 1),
      () => writeFileSync(file, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 1)),
      () => rmSync(file),
    ]) {
      change();
      await expect(restoreVm(dir)).rejects.toMatchObject({ code: "ESNAPSHOT", path: file });
      writeFileSync(file, bytes);
    }
  }
  const ram = join(dir, "ram");
  const bytes = readFileSync(ram);
  await (await restoreVm(dir, { verify: true })).stop();
  writeFileSync(ram, bytes.with(0x7000, 1));
  await expect(restoreVm(dir, { verify: true })).rejects.toMatchObject({ code: "ESNAPSHOT", path: ram });
  truncateSync(ram, 4096);
  await expect(restoreVm(dir)).rejects.toMatchObject({ code: "ESNAPSHOT", path: ram });
});

const support = (name: string) => fileURLToPath(new URL(`../support/${name}`, import.meta.url));

test("another process continues the machine", async () => {
  const vm = await flatMachine(COUNT);
  const counting = new Counting();
  counting.watch(vm);
  await vm.start();
  await counting.some();
  await vm.pause();
  const dir = place();
  await vm.snapshot({ dir });
  await vm.stop();
  const child = fork(support("restored-machine.mjs"), [dir, String(counting.next & 0xff)]);
  const [message] = await once(child, "message");
  expect(message).toEqual({ wrong: 0, enough: true });
  await once(child, "exit");
});

test("whenever a process is killed that saves, the snapshot that was there is whole, and the rest goes", async () => {
  const beside = mkdtempSync(join(folder, "killed-"));
  const dir = join(beside, "saved");
  const next = random(6);
  for (let round = 0; round < 8; round++) {
    const child = fork(support("saving-machine.mjs"), [dir]);
    await once(child, "message"); // it has saved once
    await sleep(next() * 100);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(existsSync(dir)).toBe(true);
    const vm = await restoreVm(dir, { verify: true });
    await vm.stop();
    expect(readdirSync(beside).length).toBeLessThanOrEqual(4); // what this one left, but not those before
  }
  await using vm = await flatMachine(FOR_EVER);
  await vm.start();
  await vm.snapshot({ dir: join(beside, "another") });
  expect(readdirSync(beside)).toEqual(["another", "saved"]);
});
