/** Copies of a machine that runs, with guests of a few bytes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { restoreVm, type VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { BlkGuest, done, full } from "../support/blk-guest.ts";
import { exitWith, FOR_EVER, flatMachine, inByte, outByte, say } from "../support/flat-machine.ts";
import { MemorySource } from "../support/memory-source.ts";
import { printed } from "../support/printed.ts";

const WAIT_MS = 20_000;
const folder = mkdtempSync(join(tmpdir(), "vmexit-fork-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Says "!", then prints the byte at 0x7000, adds one to it, and exits, when it gets a byte. */
const REPORT = [
  ...[0x31, 0xdb, 0x8e, 0xdb], // xor bx, bx; mov ds, bx
  ...say("!"),
  ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb], // wait for DR
  ...[0xa0, 0x00, 0x70, 0xba, 0xf8, 0x03, 0xee], // mov al, [7000]; out
  ...[0xfe, 0x06, 0x00, 0x70], // inc byte [7000]
  ...exitWith(0),
];

test("20 forks end in 20 results, see nothing of each other, and the parent goes on", async () => {
  await using vm = await flatMachine(REPORT);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: patience(WAIT_MS) });
  const children = await vm.fork(20, {
    onFork: (child, n) => child.memory.write(0x7000, Uint8Array.of(100 + n)),
  });
  expect(children.map(({ state }) => state)).toEqual(children.map(() => "running"));
  expect(new Set(children.map(({ name }) => name)).size).toBe(20);
  const outputs = children.map(printed);
  for (const child of children) child.serial.write("x");
  const endings = await Promise.all(children.map(({ exited }) => exited));
  expect(endings).toEqual(children.map(() => ({ reason: "exit", status: 1 })));
  expect((await Promise.all(outputs)).map(([byte]) => byte)).toEqual(children.map((_, n) => 100 + n));
  const own = printed(vm);
  vm.serial.write("x");
  await vm.exited;
  expect((await own).at(-1)).toBe(0);
});

test("a fork of a fork, and a second fork of a machine that wrote meanwhile, are exact", async () => {
  const count = [...outByte(0x3f8, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb];
  await using vm = await flatMachine(count);
  await vm.start();
  const counts = async (machine: VirtualMachine) => {
    const bytes: number[] = [];
    machine.serial.on("data", (chunk: Buffer) => bytes.push(...chunk));
    await expect.poll(() => bytes.length, { timeout: patience(WAIT_MS) }).toBeGreaterThan(300);
    expect(bytes.slice(0, 300)).toEqual(Array.from({ length: 300 }, (_, n) => (bytes[0] + n) & 0xff));
  };
  const [first] = await vm.fork(1);
  await counts(vm);
  const [second] = await vm.fork(1);
  const [grandchild] = await first.fork(1);
  for (const each of [vm, first, second, grandchild]) {
    await counts(each);
    await each.stop();
  }
});

test("a paused machine has paused copies, and a machine that was stopped leaves its copies alone", async () => {
  await using vm = await flatMachine(REPORT);
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: patience(WAIT_MS) });
  await vm.pause();
  const [child] = await vm.fork(1);
  expect([vm.state, child.state]).toEqual(["paused", "paused"]);
  await vm.stop();
  await child.resume();
  child.serial.write("x");
  expect(await child.exited).toEqual({ reason: "exit", status: 1 });
  await expect(vm.fork(1)).rejects.toMatchObject({ code: "ESTATE" });
});

test("each copy has its own overlay over a drive; one that the guest writes to is not shared", async () => {
  const file = join(folder, "disk.raw");
  writeFileSync(file, Buffer.alloc(2 ** 20, 0x2e));
  await using guest = await BlkGuest.start({ file, format: "raw", snapshot: true });
  expect(await guest.write(8, 1, 0x61)).toBe(done(1));
  const [one, two] = await guest.vm.fork(2);
  const ask = async (vm: VirtualMachine, command: string) => {
    vm.serial.resume();
    const answer = vm.serial.waitFor(/([^\n]*)\n/, { timeoutMs: patience(WAIT_MS) });
    vm.serial.write(`${command}\n`);
    return (await answer)[1];
  };
  expect(await ask(one, "w 8 1 62")).toBe(done(1));
  expect(await ask(two, "r 8 2")).toBe(`${full(1, 0x61)} ${full(1, 0x2e)}`);
  expect(await ask(one, "r 8 2")).toBe(`${full(1, 0x62)} ${full(1, 0x2e)}`);
  expect(await guest.read(8, 1)).toBe(full(1, 0x61));
  await Promise.all([one.stop(), two.stop()]);

  const source = new MemorySource(2 ** 20);
  await using other = await BlkGuest.start({ source });
  expect(await other.write(8, 1, 0x63)).toBe(done(1));
  await expect(other.vm.fork(1)).rejects.toThrow(
    /drives\[0\] cannot be shared, because it is a disk of the program's own/,
  );
  expect(await other.read(8, 1)).toBe(full(1, 0x63)); // it runs on
  const copy = () => {
    const same = new MemorySource(2 ** 20);
    same.bytes.set(source.bytes);
    return [{ source: same }];
  };
  const [third] = await other.vm.fork(1, { drives: copy });
  expect(await ask(third, "r 8 1")).toBe(full(1, 0x63));
  await third.stop();
});

test("devices of the program's own may be others in each copy", async () => {
  const device = (value: number) => [{ name: "id", port: 0x500, length: 1, handlers: { read: () => value } }];
  const code = [...say("!"), ...inByte(0x500), 0x3c, 0, 0x74, 0xf8, 0xba, 0xf8, 0x03, 0xee, ...FOR_EVER]; // until not 0
  await using vm = await flatMachine(code, { devices: device(0) });
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: patience(WAIT_MS) });
  const children = await vm.fork(3, { devices: (n) => device(0x41 + n) });
  const letters = children.map((child) => child.serial.waitFor(/[A-Z]/, { timeoutMs: patience(WAIT_MS) }));
  expect((await Promise.all(letters)).map(([letter]) => letter)).toEqual(["A", "B", "C"]);
  await Promise.all(children.map((child) => child.stop()));
});

test("machine, fork and restored copy have VM generation IDs of their own", async () => {
  const id = (vm: VirtualMachine) => Buffer.from(vm.memory.read(0xff028, 16)).toString("hex");
  await using vm = await flatMachine(FOR_EVER);
  const dir = join(folder, "generation");
  await vm.start();
  await vm.pause();
  const before = id(vm);
  await vm.snapshot({ dir });
  await using fork = (await vm.fork(1))[0];
  await using restored = await restoreVm(dir);
  await using again = await restoreVm(dir);
  const ids = [vm, fork, restored, again].map(id);
  expect([ids[0], new Set([...ids, "0".repeat(32)]).size]).toEqual([before, 5]);
});

/** Prints the 16 bytes at `address` whenever a byte arrives on COM1: from protected mode, by a segment of 4 GiB. */
function printsBytesAt(address: number): number[] {
  const GDT = 0x100;
  const code = [
    ...[0xfa, 0x0f, 0x01, 0x16, 0x18, GDT >> 8], // cli; lgdt [0x118]
    ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // cr0 |= PE
    ...[0xbb, 0x08, 0x00, 0x8e, 0xe3], // mov bx, 8; mov fs, bx
    ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8], // wait: mov dx, 0x3fd; in al, dx; test al, DR; jz wait
    ...[0xb2, 0xf8, 0xec], // mov dl, 0xf8; in al, dx
    ...[0x66, 0xbe, ...[0, 8, 16, 24].map((shift) => (address >>> shift) & 0xff), 0xb9, 16, 0], // mov esi; mov cx, 16
    ...[0x64, 0x67, 0x8a, 0x06, 0xee, 0x66, 0x46, 0xe2, 0xf7], // mov al, fs:[esi]; out dx, al; inc esi; loop
    ...[0xeb, 0xe1], // jmp wait
  ];
  const table = [
    ...[0, 0, 0, 0, 0, 0, 0, 0], // null
    ...[0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0], // data, 4 GiB
    ...[0, 0, 0, 0, 0, 0, 0, 0],
    ...[0x17, 0, 0x00, 0x11, 0, 0], // limit, and base 0x1100
  ];
  return [...code, ...new Array<number>(GDT - code.length).fill(0), ...table];
}

test("a PC has a generation ID too, in a page that is not RAM: each copy's guest reads another one", async () => {
  await using vm = await flatMachine(printsBytesAt(0xfed8_0028), { machine: "pc" });
  const ask = async (machine: VirtualMachine) => {
    const bytes: number[] = [];
    const take = (chunk: Buffer) => bytes.push(...chunk);
    machine.serial.on("data", take);
    machine.serial.write("?");
    while (bytes.length < 16) await new Promise((resolve) => setTimeout(resolve, 10));
    machine.serial.off("data", take);
    return Buffer.from(bytes).toString("hex");
  };
  await vm.start();
  const first = await ask(vm);
  await vm.pause();
  const dir = join(folder, "pc-generation");
  await vm.snapshot({ dir });
  await using fork = (await vm.fork(1))[0];
  await using restored = await restoreVm(dir);
  for (const each of [vm, fork, restored]) await each.resume();
  expect(await ask(vm)).toBe(first);
  expect(new Set([first, await ask(fork), await ask(restored), "0".repeat(32)]).size).toBe(4);
}, 60_000);

test("a copy whose guest knows nothing of the generation ID gets no interrupt that it does not expect", async () => {
  // sti, with a table of interrupts that leads nowhere: an interrupt would be the end.
  await using vm = await flatMachine([
    ...say("!"),
    0xfb,
    ...outByte(0x3f8, 0x30),
    0xfe,
    0xc0,
    0xee,
    0xeb,
    0xfb,
  ]);
  await vm.start();
  await vm.serial.waitFor("!0123", { timeoutMs: patience(WAIT_MS) });
  const [fork] = await vm.fork(1);
  await fork.serial.waitFor("0123456789", { timeoutMs: patience(WAIT_MS) });
  expect(fork.state).toBe("running");
  await fork.stop();
});

test("without a generation ID, nothing of a copy's memory differs", async () => {
  await using vm = await flatMachine(FOR_EVER, { generationId: false });
  await vm.start();
  await vm.pause();
  await using fork = (await vm.fork(1))[0];
  const all = (machine: VirtualMachine) => Buffer.from(machine.memory.read(0, 1 << 20));
  expect(all(fork).equals(all(vm))).toBe(true);
});
