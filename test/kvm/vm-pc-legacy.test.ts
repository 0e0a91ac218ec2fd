/** What a PC has without any table that says so: as a kernel finds it that was started without firmware. */
import { expect, test } from "vitest";
import { createVm } from "vmexit";
import { exitWith, inByte, outByte, runFlat } from "../support/flat-machine.ts";
import { printed } from "../support/printed.ts";

/** mov dx, 0x3f8; out dx, al */
const PRINT_AL = [0xba, 0xf8, 0x03, 0xee];
/** xor ax, ax; mov es, ax; mov al, es:[address] */
const loadByte = (address: number) => [
  ...[0x31, 0xc0, 0x8e, 0xc0],
  ...[0x26, 0xa0, address & 0xff, address >> 8],
];

async function bytesPrinted(code: readonly number[], options = {}): Promise<number[]> {
  await using vm = await createVm({
    ...{ memory: "1M", kernel: Uint8Array.from([...code, ...exitWith(0)]), loadAddress: 0x1000 },
    ...options,
  });
  const output = printed(vm);
  await vm.start();
  await vm.exited;
  return [...(await output)];
}

const portsPrinted = (ports: readonly number[], options = {}) =>
  bytesPrinted(
    ports.flatMap((port) => [...inByte(port), ...PRINT_AL]),
    options,
  );

/** Latches channel 0 of the PIT and reads it into BX, low byte first. */
const COUNT_TO_BX = [
  ...outByte(0x43, 0x00), // latch channel 0
  ...[...inByte(0x40), 0x88, 0xc3], // mov bl, al
  ...[...inByte(0x40), 0x88, 0xc7], // mov bh, al
];
/** Prints Y if the PIT counts while the CPU loops, N otherwise. */
const DOES_IT_COUNT = [
  ...[...outByte(0x43, 0x34), ...outByte(0x40, 0), ...outByte(0x40, 0)], // channel 0, mode 2, 65536
  ...[...COUNT_TO_BX, 0x89, 0xde], // mov si, bx
  ...[0xb9, 0x00, 0x20, 0xe2, 0xfe], // mov cx, 0x2000; loop $
  ...COUNT_TO_BX,
  ...[0xb0, 0x4e, 0x39, 0xde, 0x74, 0x02, 0xb0, 0x59], // mov al, 'N'; cmp si, bx; je +2; mov al, 'Y'
  ...PRINT_AL,
  ...exitWith(0),
];

test("there is a PIT that counts, and none with pit: false", async () => {
  expect((await runFlat(DOES_IT_COUNT)).text).toBe("Y");
  expect((await runFlat(DOES_IT_COUNT, { pit: false })).text).toBe("N");
});

test("port 0x61 gates channel 2 and shows its output, and is not there without a PIT", async () => {
  const GATE = 1;
  const OUTPUT = 1 << 5;
  const code = [
    ...[...outByte(0x61, 0), ...inByte(0x61), ...PRINT_AL],
    ...outByte(0x61, GATE),
    ...[...outByte(0x43, 0xb0), ...outByte(0x42, 2), ...outByte(0x42, 0)], // channel 2, mode 0, 2 ticks
    ...[0xb9, 0x00, 0x20, 0xe2, 0xfe], // mov cx, 0x2000; loop $
    ...[...inByte(0x61), ...PRINT_AL],
  ];
  const [before, after] = await bytesPrinted(code);
  expect([before & GATE, after & GATE, after & OUTPUT]).toEqual([0, GATE, OUTPUT]);
  expect(await portsPrinted([0x61], { pit: false })).toEqual([0xff]);
});

test("the interrupt controllers have a BIOS's masks: timer, keyboard, cascade; clock and coprocessor", async () => {
  expect(await portsPrinted([0x21, 0xa1])).toEqual([0xf8, 0xde]);
});

test("port 0x92 says that address line 20 is enabled", async () => {
  const [port92] = await portsPrinted([0x92]);
  expect(port92 & 2).toBe(2);
});

test("the BIOS data area has the ports, the memory and the extended area that there are", async () => {
  const addresses = [0x400, 0x401, 0x402, 0x403, 0x404, 0x405, 0x40e, 0x40f, 0x413, 0x414];
  const code = addresses.flatMap((address) => [...loadByte(address), ...PRINT_AL]);
  const words = await bytesPrinted(code, { serialPorts: 2 });
  expect(words).toEqual([0xf8, 0x03, 0xf8, 0x02, 0, 0, 0xc0, 0x9f, 639 & 0xff, 639 >> 8]);
});

test("a flat binary that is loaded over the BIOS data area stays whole", async () => {
  const code = [...Array(0x60).fill(0x90), ...inByte(0x21), ...PRINT_AL];
  expect(await bytesPrinted(code, { loadAddress: 0x3f0 })).toEqual([0xf8]);
});
