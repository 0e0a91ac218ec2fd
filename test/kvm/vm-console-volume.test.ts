/** Much text through a machine's console, past a program that lags: nothing is lost at any speed. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { pattern } from "../support/console-guest.ts";
import { ECHO, exitWith, flatMachine, outByte, say } from "../support/flat-machine.ts";

const MIB = 2 ** 20;
/** Each byte is an exit; an emulated machine under load makes some thousand in a second. */
const VOLUME_MS = 400_000;

/** Reads `length` bytes, resting now and then, so that whoever sends has to wait. */
async function readSlowly(vm: VirtualMachine, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let count = 0;
  while (count < length) {
    const chunk: Buffer | null = vm.serial.read();
    if (chunk === null) await once(vm.serial, "readable");
    else {
      count += chunk.length;
      chunks.push(chunk);
      if (chunks.length % 4 === 0) await sleep(5);
    }
  }
  return Buffer.concat(chunks);
}

test(
  "1 MiB printed arrives whole and in order, past a reader that lags",
  async () => {
    // di counts to 1 MiB in blocks of 256 bytes, each 0 to 255.
    const count = [
      ...[0xba, 0xf8, 0x03, 0xbf, 0x00, 0x10, 0x30, 0xc0], // mov dx, 0x3f8; mov di, 0x1000; xor al, al
      ...[0xee, 0xfe, 0xc0, 0x75, 0xfb, 0x4f, 0x75, 0xf8], // out dx, al; inc al; jnz out; dec di; jnz out
    ];
    await using vm = await flatMachine([...count, ...exitWith(0)]);
    await vm.start();
    const received = await readSlowly(vm, MIB);
    expect(received.equals(Buffer.from(Uint8Array.from({ length: MIB }, (_, i) => i)))).toBe(true);
    expect(await vm.exited).toMatchObject({ reason: "exit" });
    expect(vm.stats().serials).toEqual([{ bytesOut: MIB, bytesIn: 0, dropped: 0 }]);
  },
  patience(VOLUME_MS),
);

test(
  "128 KiB come back from a guest that echoes: nothing is lost in either direction",
  async () => {
    const length = MIB / 8;
    await using vm = await flatMachine([...outByte(0x3fa, 1), ...say(">"), ...ECHO]);
    await vm.start();
    await vm.serial.waitFor(">"); // the FIFO is on, as drivers have it; switching it on empties the receiver
    const sent = pattern(length);
    const reading = readSlowly(vm, length + 1);
    let waits = 0;
    for (let at = 0; at < length; at += 10_000) {
      if (!vm.serial.write(sent.subarray(at, at + 10_000))) {
        waits++;
        await once(vm.serial, "drain");
      }
    }
    const received = await reading;
    expect(received.subarray(1).equals(sent)).toBe(true);
    // A stream's buffer is 16 KiB before Node 22 and 64 KiB since: it was full at least half as often as it fits.
    expect(waits).toBeGreaterThanOrEqual(length / 2 / vm.serial.writableHighWaterMark);
    expect(vm.stats().serials).toEqual([{ bytesOut: length + 1, bytesIn: length, dropped: 0 }]);
  },
  patience(VOLUME_MS),
);
