/** The life of a machine, with guests of a few bytes. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { VirtualMachine } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import {
  ECHO,
  exitWith,
  FLOOD,
  FOR_EVER,
  flatMachine,
  inByte,
  outByte,
  POWER_OFF,
  RESET,
  runFlat,
  say,
  TRIPLE_FAULT,
} from "../support/flat-machine.ts";

/** What ends at once may take this long on a machine that is emulated and busy. */
const PROMPTLY_MS = 20_000;

/** Ends a machine, and says so if that takes more than a moment. */
async function stopPromptly(vm: VirtualMachine): Promise<void> {
  const start = Date.now();
  await vm.stop();
  expect(await vm.exited).toEqual({ reason: "stopped" });
  expect(Date.now() - start).toBeLessThan(patience(PROMPTLY_MS));
}

test("a guest that powers off, exits or faults beyond help ends the machine, each with its reason", async () => {
  expect((await runFlat(POWER_OFF)).ending).toEqual({ reason: "poweroff" });
  expect((await runFlat(exitWith(3))).ending).toEqual({ reason: "exit", status: 7 });
  expect((await runFlat([...RESET, ...FOR_EVER], { onReset: "exit" })).ending).toEqual({ reason: "reset" });
});

test("a triple fault is a crash whose message says so and where it was", async () => {
  await using vm = await flatMachine(TRIPLE_FAULT);
  const errors: Error[] = [];
  vm.on("error", (error) => errors.push(error));
  await vm.start();
  const { reason, message } = await vm.exited;
  expect(reason).toBe("crash");
  expect(message).toMatch(/triple fault.*KVM_EXIT_SHUTDOWN.*cs:rip=/);
  expect(errors).toMatchObject([{ code: "ECRASH", message }]);
});

test("events tell the machine's life in order, and its state agrees with them", async () => {
  await using vm = await flatMachine(ECHO);
  const seen: string[] = [];
  for (const event of ["started", "paused", "resumed", "reset", "exited"] as const) {
    vm.on(event, () => seen.push(`${event} ${vm.state}`));
  }
  expect(vm.state).toBe("created");
  await vm.start();
  await vm.pause();
  await vm.resume();
  await vm.reset();
  await vm.stop();
  expect(seen).toEqual([
    "started running",
    "paused paused",
    "resumed running",
    "reset running",
    "exited exited",
  ]);
});

test("a call that does not fit the state is refused, and the machine goes on as it was", async () => {
  await using vm = await flatMachine(ECHO);
  await expect(vm.pause()).rejects.toMatchObject({
    code: "ESTATE",
    message: expect.stringContaining("created"),
  });
  await vm.start();
  await expect(vm.start()).rejects.toMatchObject({ code: "ESTATE" });
  await expect(vm.resume()).rejects.toMatchObject({ code: "ESTATE" });
  vm.serial.write("still here");
  await vm.serial.waitFor("still here");
  await vm.stop();
  await expect(vm.reset()).rejects.toMatchObject({ code: "ESTATE" });
  await vm.stop(); // once more does nothing
});

test("a paused guest does nothing; resumed, it goes on where it was", async () => {
  const count = [...outByte(0x3f8, 0), 0xfe, 0xc0, 0xee, 0xeb, 0xfb]; // inc al; out dx, al; jmp: 0, 1, 2 ...
  await using vm = await flatMachine(count);
  let next = 0;
  let wrong = 0;
  vm.serial.on("data", (chunk: Buffer) => {
    for (const byte of chunk) if (byte !== (next++ & 0xff)) wrong++;
  });
  await vm.start();
  for (let turn = 0; turn < 10; turn++) {
    const before = next;
    await expect.poll(() => next, { timeout: patience(20_000) }).toBeGreaterThan(before);
    await vm.pause();
    await sleep(30); // what it had sent arrives
    const { totalExits } = vm.stats();
    const seen = next;
    await sleep(50);
    expect([vm.stats().totalExits, next]).toEqual([totalExits, seen]);
    await vm.resume();
  }
  expect(wrong).toBe(0);
});

test("a guest that computes without ever leaving is paused and stopped all the same", async () => {
  await using vm = await flatMachine([...say("!"), ...FOR_EVER]);
  await vm.start();
  await vm.serial.waitFor("!");
  await vm.pause();
  await vm.resume();
  await stopPromptly(vm);
});

test("reset starts the guest anew, with its memory and devices as at first", async () => {
  // Prints the byte at 0x100 and the UART's scratch register as letters, then changes both.
  const code = [
    ...[0xba, 0xf8, 0x03, 0xa0, 0x00, 0x01, 0x04, 0x41, 0xee], // out 0x3f8, [0x100] + 'A'
    ...[0xc6, 0x06, 0x00, 0x01, 0x05], // mov byte [0x100], 5
    ...[...inByte(0x3ff), 0x04, 0x61, 0xba, 0xf8, 0x03, 0xee], // out 0x3f8, scratch + 'a'
    ...[...outByte(0x3ff, 7), ...say("."), ...FOR_EVER],
  ];
  await using vm = await flatMachine(code);
  await vm.start();
  await vm.serial.waitFor("Aa.");
  await vm.reset();
  await vm.serial.waitFor("Aa.");
  await vm.pause();
  await vm.reset(); // out of a pause too
  await vm.serial.waitFor("Aa.");
  expect(vm.stats().serials[0].bytesOut).toBe(9);
});

test("a guest that resets itself starts again, as often as it likes, with onReset: reset", async () => {
  await using vm = await flatMachine([...say("boot\n"), ...inByte(0x300), ...RESET, ...FOR_EVER], {
    devices: [{ name: "turns", port: 0x300, length: 1, handlers: { read: () => 0 } }],
  });
  let resets = 0;
  vm.on("reset", () => resets++);
  await vm.start();
  for (let turn = 0; turn < 5; turn++) await vm.serial.waitFor("boot\n");
  expect(resets).toBeGreaterThanOrEqual(4);
  await stopPromptly(vm);
});

test("stop ends a guest that floods a console nobody reads, and one whose reader stopped", async () => {
  await using unread = await flatMachine(FLOOD);
  await unread.start();
  await expect
    .poll(() => unread.stats().serials[0].bytesOut, { timeout: patience(20_000) })
    .toBeGreaterThan(1000);
  await stopPromptly(unread);
  await using held = await flatMachine(FLOOD);
  await held.start();
  held.serial.on("data", () => {}).once("data", () => held.serial.pause());
  await sleep(1_000);
  await stopPromptly(held);
});

test("stop ends a guest that waits for an answer which never comes", async () => {
  const handlers = { read: () => new Promise<number>(() => {}) };
  let asked = false;
  const ring = () => {
    asked = true;
  };
  await using vm = await flatMachine([...outByte(0x301, 0), ...inByte(0x300), ...FOR_EVER], {
    devices: [
      { name: "silent", port: 0x300, length: 1, handlers },
      { name: "bell", port: 0x301, length: 1, handlers: { write: ring } },
    ],
  });
  await vm.start();
  await expect.poll(() => asked, { timeout: patience(20_000) }).toBe(true);
  await stopPromptly(vm);
});

test("several machines at once do not meet", async () => {
  const names = ["ann", "bob", "cid", "dot"];
  const machines = await Promise.all(names.map((name) => flatMachine(ECHO, { name })));
  await Promise.all(machines.map((vm) => vm.start()));
  await Promise.all(
    machines.map(async (vm, n) => {
      for (let turn = 0; turn < 20; turn++) {
        vm.serial.write(`${names[n]} ${turn}\n`);
        const [said] = await vm.serial.waitFor(/.*\n/);
        expect(said).toBe(`${names[n]} ${turn}\n`);
      }
    }),
  );
  await machines[0].stop();
  machines[1].serial.write("on");
  await machines[1].serial.waitFor("on");
  await Promise.all(machines.map((vm) => vm.close()));
});

test("stop may be called at any moment, also when the last words of a machine that ends just came", async () => {
  for (let turn = 0; turn < 30; turn++) {
    const vm = await flatMachine([...say("ab"), ...exitWith(0)]);
    await vm.start();
    await vm.serial.waitFor("ab");
    await vm.stop();
    expect((await vm.exited).reason).toMatch(/exit|stopped/);
  }
});
