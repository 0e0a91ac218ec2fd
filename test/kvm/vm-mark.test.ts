/** Machines that go back to a mark, with guests of a few bytes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import type { VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { BlkGuest, done, full } from "../support/blk-guest.ts";
import {
  ECHO,
  FOR_EVER,
  flatMachine,
  inByte,
  outByte,
  RESET,
  say,
  TIMER,
  wrmsr,
  X2APIC,
} from "../support/flat-machine.ts";
import { MemorySource } from "../support/memory-source.ts";
import { random } from "../support/random.ts";

const WAIT_MS = patience(20_000);
const WAIT = { timeout: WAIT_MS };
const folder = mkdtempSync(join(tmpdir(), "vmexit-mark-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Bytes on a console. */
function recorded(vm: VirtualMachine, port = 0): number[] {
  const bytes: number[] = [];
  vm.serials[port].on("data", (chunk: Buffer) => bytes.push(...chunk));
  return bytes;
}

/** Counts from 0 on COM1, and writes each number to 0x7000 and to one more page. */
const COUNT_AND_WRITE = [
  ...[0x31, 0xdb, 0x8e, 0xdb, 0xbf, 0x00, 0x80], // xor bx, bx; mov ds, bx; mov di, 8000
  ...outByte(0x3f8, 0),
  ...[0xfe, 0xc0, 0xa2, 0x00, 0x70, 0x88, 0x05], // inc al; mov [7000], al; mov [di], al
  ...[0x81, 0xc7, 0x00, 0x10, 0xee, 0xeb, 0xf2], // add di, 1000; out dx, al; jmp inc
];

test("a guest goes back 30 times, at random moments, and counts on from the mark each time", async () => {
  const next = random(7);
  await using vm = await flatMachine(COUNT_AND_WRITE);
  const bytes = recorded(vm);
  await vm.start();
  await expect.poll(() => bytes.length, WAIT).toBeGreaterThan(0);
  await vm.pause();
  await vm.mark();
  const marked = vm.memory.read(0, 0x10_0000);
  await sleep(20); // what is still in the ring
  const first = bytes.length;
  for (let round = 0; round < 30; round++) {
    const at = bytes.length;
    await vm.resume();
    await expect.poll(() => bytes.length, WAIT).toBeGreaterThan(at + 20);
    await sleep(next() * 5);
    await vm.pause();
    const { pages, pauseMs } = await vm.rewind();
    expect(pages).toBeGreaterThan(1);
    expect(pauseMs).toBeGreaterThan(0);
    expect(vm.state).toBe("paused");
    expect(Buffer.compare(vm.memory.read(0, 0x10_0000), marked)).toBe(0);
    await sleep(10);
    const run = bytes.slice(at);
    expect(run).toEqual(run.map((_, n) => (bytes[first - 1] + 1 + n) & 0xff));
  }
});

test("a machine that runs goes back and runs on; a later mark takes the place of an earlier one", async () => {
  await using vm = await flatMachine([...say("a"), ...ECHO]);
  await vm.start();
  await vm.serial.waitFor("a", { timeoutMs: WAIT_MS });
  const echo = async (text: string) => {
    const answer = vm.serial.waitFor(text, { timeoutMs: WAIT_MS });
    vm.serial.write(text);
    await answer;
  };
  await vm.mark();
  vm.memory.write(0x7000, Uint8Array.of(1));
  await echo("one");
  expect((await vm.rewind()).pages).toBe(1);
  expect([vm.state, vm.memory.read(0x7000, 1)[0]]).toEqual(["running", 0]);
  vm.memory.write(0x7000, Uint8Array.of(2));
  await vm.mark();
  vm.memory.write(0x7000, Uint8Array.of(3));
  await echo("two");
  await vm.rewind();
  expect(vm.memory.read(0x7000, 1)[0]).toBe(2);
  expect((await vm.rewind()).pages).toBe(0);
  await echo("three");
});

test("an interrupt that was not requested at the mark is not requested after it", async () => {
  // Prints whether the PIC has a request of COM1, again and again. Interrupts stay off.
  const loop = [
    ...outByte(0x20, 0x0a),
    ...inByte(0x20),
    0x24,
    0x10,
    0x04,
    0x30,
    0xba,
    0xf8,
    0x03,
    0xee,
    0xeb,
    0xec,
  ];
  await using vm = await flatMachine([...outByte(0x3fa, 1), ...outByte(0x3f9, 1), ...loop]);
  const bytes = recorded(vm);
  const last = () => String.fromCharCode(bytes.at(-1) ?? 0);
  await vm.start();
  await expect.poll(last, WAIT).toBe("0");
  await vm.mark();
  for (let round = 0; round < 3; round++) {
    vm.serial.write("x");
    await expect.poll(last, WAIT).toBe("@");
    await vm.rewind();
    await expect.poll(last, WAIT).toBe("0");
  }
});

test("a byte in the FIFO at the mark is read again after each rewind; bytes that wait for room arrive", async () => {
  await using vm = await flatMachine([...outByte(0x3fa, 1), ...say("!"), ...ECHO]);
  const bytes = recorded(vm);
  const text = () => Buffer.from(bytes).toString("latin1");
  await vm.start();
  await expect.poll(text, WAIT).toBe("!");
  await vm.pause();
  vm.serial.write("x");
  await sleep(50);
  await vm.mark();
  await vm.resume();
  await expect.poll(text, WAIT).toBe("!x");
  await vm.rewind();
  await expect.poll(text, WAIT).toBe("!xx");
  await vm.pause();
  vm.serial.write("a line that is longer than a FIFO"); // it waits for the guest to read
  await vm.rewind();
  await vm.resume();
  await expect.poll(text, WAIT).toMatch(/FIFO$/); // what the chip had of it went with the rewind
  expect(text()).toMatch(/^!xxx/);
});

test("a timer goes on after each rewind", async () => {
  await using vm = await flatMachine(TIMER);
  const bytes = recorded(vm);
  await vm.start();
  await expect.poll(() => bytes.length, WAIT).toBeGreaterThan(3);
  await vm.pause();
  await vm.mark();
  await sleep(20);
  const first = (bytes.at(-1) ?? 0) + 1;
  for (let round = 0; round < 10; round++) {
    const at = bytes.length;
    await vm.resume();
    await expect.poll(() => bytes.length - at, WAIT).toBeGreaterThan(3);
    await vm.pause();
    await vm.rewind();
    await sleep(20);
    const run = bytes.slice(at);
    expect(run).toEqual(run.map((_, n) => (first + n) & 0xff));
  }
});

test("a CPU that was not started at the mark is started anew after it", async () => {
  const count = (port: number) => [...outByte(port, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb];
  const boot = [
    ...X2APIC,
    ...say("!"),
    ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xb2, 0xf8, 0xec], // wait for a byte, and read it
    ...[...wrmsr(0x830, 0xc_4500), ...wrmsr(0x830, 0xc_4601), ...FOR_EVER],
  ];
  // mov al, 1; xchg cs:[7f00], al: the second that comes here is the other CPU
  const which = [0xb0, 1, 0x2e, 0x86, 0x06, 0x00, 0x7f, 0x84, 0xc0, 0x75, boot.length];
  await using vm = await flatMachine([...which, ...boot, ...count(0x2f8)], { cpus: 2, serialPorts: 2 });
  const bytes = recorded(vm, 1);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
  await vm.mark();
  for (let round = 0; round < 5; round++) {
    const at = bytes.length;
    vm.serial.write("x");
    await expect.poll(() => bytes.length - at, WAIT).toBeGreaterThan(20);
    await vm.rewind();
    await sleep(20);
    const run = bytes.slice(at);
    expect(run).toEqual(run.map((_, n) => n & 0xff));
  }
});

test("what a guest wrote to its overlay goes back, and so do requests that come meanwhile", async () => {
  const file = join(folder, "disk.raw");
  writeFileSync(file, Buffer.alloc(2 ** 20, 0x2e));
  await using guest = await BlkGuest.start({ file, format: "raw", snapshot: true });
  expect(await guest.write(8, 4, 0x61)).toBe(done(4));
  await guest.vm.mark();
  for (let round = 0; round < 3; round++) {
    expect(await guest.write(8, 2, 0x62)).toBe(done(2));
    expect(await guest.write(0x80, 1, 0x63)).toBe(done(1));
    guest.begin("w 8 10 64");
    await guest.vm.rewind();
    expect(await guest.read(8, 5)).toBe(`${full(4, 0x61)} ${full(1, 0x2e)}`);
    expect(await guest.read(0x80, 1)).toBe(full(1, 0x2e));
  }
});

test("what the guest reads of a device without an exit goes back", async () => {
  const file = join(folder, "resized.raw");
  writeFileSync(file, Buffer.alloc(2 ** 20));
  await using guest = await BlkGuest.start({ file, format: "raw", snapshot: true });
  expect(await guest.size()).toMatchObject({ bytes: 2 ** 20 });
  await guest.vm.mark();
  await guest.vm.drives[0].resize(2 ** 21);
  expect(await guest.size()).toEqual({ bytes: 2 ** 21, changed: true });
  await guest.vm.rewind();
  expect(await guest.size()).toEqual({ bytes: 2 ** 20, changed: false });
});

test("a disk that cannot go back is refused by name; one that the guest only reads is not", async () => {
  const file = join(folder, "other.raw");
  writeFileSync(file, Buffer.alloc(2 ** 20, 0x2e));
  await using guest = await BlkGuest.start({ file, format: "raw" });
  await expect(guest.vm.mark()).rejects.toThrow(
    /drives\[0\] cannot go back, because the guest writes to its file: give it snapshot: true, or readOnly: true/,
  );
  expect(await guest.read(8, 1)).toBe(full(1, 0x2e)); // it runs on
  await guest.vm.stop();
  await using own = await BlkGuest.start({ source: new MemorySource(2 ** 20) });
  await expect(own.vm.mark()).rejects.toThrow(/because it is a disk of the program's own/);
  await own.vm.stop();
  await using reader = await BlkGuest.start({ file, format: "raw", readOnly: true });
  await reader.vm.mark();
  expect(await reader.read(8, 1)).toBe(full(1, 0x2e));
  await reader.vm.rewind();
  expect(await reader.read(8, 1)).toBe(full(1, 0x2e));
});

test("without a mark, after a reset, and after the end there is nothing to go back to", async () => {
  const code = [...say("!"), ...inByte(0x3fd), 0xa8, 0x01, 0x74, 0xf8, ...RESET, ...FOR_EVER];
  await using vm = await flatMachine(code);
  await expect(vm.mark()).rejects.toMatchObject({ code: "ESTATE" });
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
  await expect(vm.rewind()).rejects.toThrow(/has no mark/);
  await vm.mark();
  vm.serial.write("x");
  await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
  await expect(vm.rewind()).rejects.toThrow(/has no mark; a reset drops it/);
  await vm.mark();
  await vm.rewind();
  await vm.stop();
  await expect(vm.rewind()).rejects.toMatchObject({ code: "ESTATE" });
});

test("a copy of a machine that has a mark, and the machine, go their own ways", async () => {
  await using vm = await flatMachine(COUNT_AND_WRITE);
  const bytes = recorded(vm);
  await vm.start();
  await expect.poll(() => bytes.length, WAIT).toBeGreaterThan(0);
  await vm.mark();
  const [child] = await vm.fork(1);
  const copied = recorded(child);
  await expect.poll(() => copied.length, WAIT).toBeGreaterThan(300);
  await vm.rewind();
  await expect.poll(() => copied.length, WAIT).toBeGreaterThan(600);
  await child.mark();
  await child.rewind();
  await vm.rewind();
  await child.stop();
  expect(copied.slice(0, 300)).toEqual(Array.from({ length: 300 }, (_, n) => (copied[0] + n) & 0xff));
});
