/** The console of a machine, between a real UART's driver and a program that is fast, slow or absent. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { patience } from "../../lab/patience.mjs";
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
  await expect.poll(() => go, { timeout: patience(20_000) }).toBeDefined();
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
  await expect.poll(() => next, { timeout: patience(20_000) }).toBeGreaterThan(1000);
  vm.serial.pause();
  // The guest runs on until every buffer on the way is full.
  const exits = () => vm.stats().totalExits;
  const moved = async () => {
    const before = exits();
    await sleep(200);
    return exits() - before;
  };
  await expect.poll(moved, { timeout: patience(200_000) }).toBe(0);
  const [before, seen] = [exits(), next];
  vm.serial.resume();
  await expect.poll(exits, { timeout: patience(20_000) }).toBeGreaterThan(before + 100);
  expect(next).toBeGreaterThan(seen);
  expect(wrong).toBe(0);
}, 240_000);

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
  await expect.poll(() => vm.stats().serials[0].bytesOut, { timeout: patience(20_000) }).toBe(8);
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
  await expect.poll(() => bytes, { timeout: patience(20_000) }).toBeGreaterThan(0);
  const before = bytes;
  let late = 0;
  for (let turn = 0; turn < 50; turn++) {
    const start = Date.now();
    await sleep(10);
    late = Math.max(late, Date.now() - start);
  }
  expect(bytes).toBeGreaterThan(before);
  expect(late).toBeLessThan(2_000);
});
