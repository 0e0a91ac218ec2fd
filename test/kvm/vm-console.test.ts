/** The console of a machine, between a real UART's driver and a program that is fast, slow or absent. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { VirtualMachine } from "vmexit";
import { pattern } from "../support/console-guest.ts";
import {
  ECHO,
  exitWith,
  FLOOD,
  FOR_EVER,
  flatMachine,
  inByte,
  outByte,
  runFlat,
  say,
} from "../support/flat-machine.ts";

const MIB = 2 ** 20;

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

test("1 MiB printed arrives whole and in order, past a reader that lags", async () => {
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
}, 240_000);

test("128 KiB come back from a guest that echoes: nothing is lost in either direction", async () => {
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
  expect(waits).toBeGreaterThan(5); // every second of 14 writes finds the stream's 16 KiB full
  expect(vm.stats().serials).toEqual([{ bytesOut: length + 1, bytesIn: length, dropped: 0 }]);
}, 240_000);

test("a write is called back once the guest's receiver has the last byte, not before", async () => {
  // Reads nothing until 'go' is answered on port 0x300; then echoes.
  let go: ((value: number) => void) | undefined;
  const handlers = {
    read: () =>
      new Promise<number>((resolve) => {
        go = resolve;
      }),
  };
  await using vm = await flatMachine([...inByte(0x300), ...ECHO], {
    devices: [{ name: "gate", port: 0x300, length: 1, handlers }],
  });
  await vm.start();
  await expect.poll(() => go, { timeout: 20_000 }).toBeDefined();
  let taken = false;
  vm.serial.write("x".repeat(100), () => {
    taken = true;
  });
  await sleep(100);
  expect(taken).toBe(false);
  expect(vm.stats().serials[0].bytesIn).toBeLessThanOrEqual(16); // what a FIFO holds
  go?.(0);
  await vm.serial.waitFor("x".repeat(100));
  expect(taken).toBe(true);
});

test("a guest that prints to nobody is not held, and its last words are there for a late reader", async () => {
  await using vm = await flatMachine([...say("early "), ...say("late"), ...exitWith(0)]);
  await vm.start();
  await vm.exited;
  expect(String(vm.serial.read())).toBe("early late");
});

test("a reader that stops reading holds the guest, and nothing is lost when it goes on", async () => {
  // Counts on COM1 without end: 0, 1, 2 ...
  const count = [...outByte(0x3f8, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb]; // inc al; out dx, al; jmp
  await using vm = await flatMachine(count);
  await vm.start();
  let next = 0;
  let wrong = 0;
  const check = (chunk: Buffer) => {
    for (const byte of chunk) if (byte !== (next++ & 0xff)) wrong++;
  };
  vm.serial.on("data", check);
  await expect.poll(() => next, { timeout: 20_000 }).toBeGreaterThan(1000);
  vm.serial.pause();
  // The guest runs on until every buffer on the way is full.
  const exits = () => vm.stats().totalExits;
  const moved = async () => {
    const before = exits();
    await sleep(200);
    return exits() - before;
  };
  await expect.poll(moved, { timeout: 40_000 }).toBe(0);
  const before = next;
  vm.serial.resume();
  await expect.poll(() => next - before, { timeout: 20_000 }).toBeGreaterThan(200_000);
  expect(wrong).toBe(0);
});

test("each of four serial ports and the debug console has a stream of its own", async () => {
  const ports = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
  const code = ports.flatMap((port, n) => outByte(port, 0x31 + n));
  await using vm = await flatMachine(
    [...code, ...outByte(0xe9, 0x44), ...outByte(0x402, 0x45), ...exitWith(0)],
    {
      serialPorts: 4,
    },
  );
  await vm.start();
  await vm.exited;
  expect(vm.serials.map((serial) => String(serial.read()))).toEqual(["1", "2", "3", "4"]);
  expect(String(vm.debugConsole.read())).toBe("DE");
});

test("text that never comes is an error that quotes what did come, also when the machine ends first", async () => {
  await using vm = await flatMachine([...say("booting\n"), ...FOR_EVER]);
  await vm.start();
  await expect(vm.serial.waitFor("login:", { timeoutMs: 500 })).rejects.toMatchObject({
    code: "ETIMEDOUT",
    message: expect.stringContaining("booting"),
  });
  const waiting = vm.serial.waitFor("login:");
  await vm.stop();
  await expect(waiting).rejects.toMatchObject({ code: "EPIPE" });
});

test("the stream ends with the machine, after the last byte", async () => {
  const { text } = await runFlat([...say("the end"), ...exitWith(0)]);
  expect(text).toBe("the end");
});

test("a flooding guest leaves the program time for other things", async () => {
  await using vm = await flatMachine(FLOOD);
  let bytes = 0;
  vm.serial.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await vm.start();
  let late = 0;
  for (let turn = 0; turn < 50; turn++) {
    const start = Date.now();
    await sleep(10);
    late = Math.max(late, Date.now() - start);
  }
  expect(bytes).toBeGreaterThan(0);
  expect(late).toBeLessThan(2_000);
});
