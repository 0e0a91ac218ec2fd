/** Machines that are saved at moments that are hard: in the middle of an access, with a disk of the host that is full. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { type DeviceOptions, restoreVm } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { FOR_EVER, flatMachine, inByte, outByte, say } from "../support/flat-machine.ts";

const WAIT_MS = patience(20_000);
const WAIT = { timeout: WAIT_MS };
const folder = mkdtempSync(join(tmpdir(), "vmexit-moments-"));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;
const place = () => join(folder, `snapshot-${made++}`);

const DEVICE = 0x500;
const ADDRESS = 0xd000_0000;
/** mov edi, ADDRESS; with a segment limit of 4 GiB, which real mode gets by a moment in protected mode. */
const READ_MMIO = [
  ...[0x66, 0xbf, 0x00, 0x00, 0x00, 0xd0], // mov edi, d0000000
  ...[0x67, 0x8a, 0x07], // mov al, [edi]
];
/** DS gets a limit of 4 GiB. The GDT is at 0x40 of the code. */
const UNREAL = [
  ...[0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0x40, 0x00], // cli; lgdt cs:[40]
  ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // cr0 |= PE
  ...[0xbb, 0x08, 0x00, 0x8e, 0xdb], // mov bx, 8; mov ds, bx
  ...[0x24, 0xfe, 0x0f, 0x22, 0xc0], // cr0 &= ~PE
];
/** At 0x40: the limit and the address of the table that follows; its second entry is flat. */
const GDT = [
  ...[0x0f, 0x00, 0x46, 0x10, 0x00, 0x00],
  ...[0, 0, 0, 0, 0, 0, 0, 0],
  ...[0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00],
];
const PRINT = [0xba, 0xf8, 0x03, 0xee];
const padded = (code: readonly number[]) => [...code, ...new Array(0x40 - code.length).fill(0x90)];
const READERS = {
  IN: [...say("!"), ...inByte(DEVICE), ...PRINT, ...FOR_EVER],
  "rep ins": [
    ...[...say("!"), 0x31, 0xc0, 0x8e, 0xc0, 0xbf, 0x00, 0x70, 0xb9, 0x03, 0x00, 0xba, 0x00, 0x05, 0xfc], // es:di = 0:7000; cx = 3; dx = DEVICE
    ...[0xf3, 0x6c, 0x26, 0xa0, 0x02, 0x70, ...PRINT, ...FOR_EVER], // rep insb; print the third
  ],
  MMIO: padded([...UNREAL, ...say("!"), ...READ_MMIO, ...PRINT, ...FOR_EVER]).concat(GDT),
};

test.each(Object.entries(READERS))(
  "while an answer to %s is pending, the save waits for it",
  async (_, code) => {
    let reads = 0;
    let answer: (value: number) => void = () => {};
    const handlers = {
      read: () => {
        reads++;
        return new Promise<number>((resolve) => {
          answer = resolve;
        });
      },
    };
    const devices: DeviceOptions[] = [
      { name: "slow port", port: DEVICE, length: 1, handlers },
      { name: "slow memory", address: ADDRESS, length: 4096, handlers },
    ];
    const vm = await flatMachine(code, { devices });
    await vm.start();
    await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
    await expect.poll(() => reads, WAIT).toBe(1);
    const dir = place();
    let saved = false;
    const save = vm.snapshot({ dir }).then(() => {
      saved = true;
    });
    await sleep(100);
    expect([reads, saved]).toEqual([1, false]);
    const answering = setInterval(() => answer(0x41), 5); // one instruction may need several answers
    await save;
    clearInterval(answering);
    await vm.stop();
    const before = reads;
    await using copy = await restoreVm(dir, { devices });
    const letter = copy.serial.waitFor(/[A-Z]/, { timeoutMs: WAIT_MS });
    await copy.resume();
    expect([(await letter)[0], reads]).toEqual(["A", before]); // the instruction is not executed again
  },
);

/** Bytes of copied pages of guest RAM in this process. */
function copiedRam(): number {
  const maps = readFileSync("/proc/self/smaps", "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const ofRam = maps.filter((map) => /^\S+ \S+ \S+ \S+ \S+ +\/memfd:guest-ram/.test(map));
  return 1024 * ofRam.reduce((sum, map) => sum + Number(/^Anonymous: +(\d+) kB/m.exec(map)?.[1]), 0);
}

test("a fork costs the pages that it or the machine writes, and no others", async () => {
  await using vm = await flatMachine([...outByte(0x3f8, 0x21), ...FOR_EVER], { memory: "64M" });
  await vm.start();
  await vm.serial.waitFor("!", { timeoutMs: WAIT_MS });
  for (let at = 2; at < 62; at++) vm.memory.write(at * 2 ** 20, new Uint8Array(2 ** 20).fill(at));
  expect(copiedRam()).toBe(0);
  const children = await vm.fork(4);
  const few = 4 * 64 * 1024; // what KVM and the guest write by themselves
  expect(copiedRam()).toBeLessThan(few);
  for (const child of children) {
    for (let page = 0; page < 256; page++) child.memory.write(2 ** 22 + page * 4096, Uint8Array.of(1));
  }
  expect(copiedRam()).toBeGreaterThanOrEqual(4 * 2 ** 20);
  expect(copiedRam()).toBeLessThan(4 * 2 ** 20 + few);
  for (const child of children) await child.stop();
});

const small = join(folder, "small");
const mounted = (command: string, ...words: string[]) => [
  ...["-rm", "sh", "-c", `mount -t tmpfs -o size=7m tmpfs "$0" && exec ${command}`, small],
  ...words,
];
mkdirSync(small);
const mayMount = spawnSync("unshare", mounted("true")).status === 0;

test.skipIf(!mayMount).each([{}, { stop: false }, { diff: true }, { diff: true, stop: false }])(
  "a disk that is full while %j saves leaves the old snapshot, and no other",
  (options) => {
    const program = fileURLToPath(new URL("../support/full-disk-saving.mjs", import.meta.url));
    const words = [process.execPath, program, small, JSON.stringify(options)];
    const text = execFileSync("unshare", mounted('"$@"', ...words), { encoding: "utf8" });
    expect(JSON.parse(text)).toEqual({ code: "ENOSPC", left: ["first"], old: 1, state: "running", now: 2 });
  },
);
