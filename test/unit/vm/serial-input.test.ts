import { once } from "node:events";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { SerialPort } from "../../../src/vm/serial-port.ts";
import { ConsoleGuest, pattern } from "../../support/console-guest.ts";

function machine(room?: number) {
  const serial = new SerialPort("vm serial0");
  return { serial, guest: new ConsoleGuest(serial, room === undefined ? {} : { room }).plug() };
}

test("what the program writes, the guest receives", () => {
  const { serial, guest } = machine();
  serial.write("uname -a\n");
  expect(guest.receivedText).toBe("uname -a\n");
  expect(serial.bytesIn).toBe(9);
});

test("a receiver that is full gets the rest when it has room, in order", async () => {
  const { serial, guest } = machine(16);
  const sent = pattern(1000);
  let done = false;
  serial.write(sent, () => {
    done = true;
  });
  expect(guest.received.length).toBe(16);
  while (guest.received.length < sent.length) {
    expect(done).toBe(false);
    guest.makeRoom(14);
  }
  await sleep(0);
  expect(done).toBe(true);
  expect(guest.received).toEqual([...sent]);
  expect(serial.bytesIn).toBe(1000);
});

test("writes are called back in order, each when the guest has its last byte", async () => {
  const { serial, guest } = machine(0);
  const order: string[] = [];
  serial.write("abc", () => order.push(`first at ${guest.received.length}`));
  serial.write("", () => order.push(`empty at ${guest.received.length}`));
  serial.write("de", () => order.push(`second at ${guest.received.length}`));
  for (let i = 0; i < 5; i++) {
    await sleep(1);
    guest.makeRoom(1);
  }
  await sleep(1);
  expect(order).toEqual(["first at 3", "empty at 3", "second at 5"]);
});

test("a program that writes faster than the guest reads has to wait", async () => {
  const { serial, guest } = machine(0);
  const piece = new Uint8Array(4096);
  let accepted = 0;
  while (serial.write(piece)) {
    accepted++;
    expect(accepted).toBeLessThan(100);
  }
  const drained = once(serial, "drain");
  guest.makeRoom(Number.POSITIVE_INFINITY);
  await drained;
  expect(guest.received.length).toBe((accepted + 1) * 4096);
});

test("a file piped into the guest arrives whole although the receiver holds 16 bytes", async () => {
  const { serial, guest } = machine(16);
  const sent = pattern(5_000);
  Readable.from([sent.subarray(0, 1234), sent.subarray(1234)], { objectMode: false }).pipe(serial);
  while (guest.received.length < sent.length) {
    await new Promise((resolve) => setImmediate(resolve));
    guest.makeRoom(16);
  }
  await once(serial, "finish");
  expect(guest.received).toEqual([...sent]);
});

test("the end of the input is not the end of the output", async () => {
  const { serial, guest } = machine();
  serial.end("exit\n");
  await once(serial, "finish");
  guest.send("logout");
  await serial.waitFor("logout", { timeoutMs: 1_000 });
  expect(guest.receivedText).toBe("exit\n");
});

test("writing after the end of the input is an error with a code, and nothing reaches the guest", async () => {
  const { serial, guest } = machine();
  serial.end();
  const failed = once(serial, "error");
  serial.write("more");
  expect((await failed)[0]).toMatchObject({ code: "ERR_STREAM_WRITE_AFTER_END" });
  expect(guest.received).toEqual([]);
});

test("a write that waits when the machine ends is called back, and later ones are let go", async () => {
  const { serial } = machine(2);
  const order: string[] = [];
  serial.write("abcd", () => order.push("waiting"));
  serial.finish();
  serial.write("efgh", () => order.push("late"));
  await sleep(1);
  expect(order).toEqual(["waiting", "late"]);
  expect(serial.bytesIn).toBe(2);
});

test("a write that waits during a reset goes on in the new machine", async () => {
  const { serial, guest } = machine(3);
  let done = false;
  serial.write("abcdef", () => {
    done = true;
  });
  const again = new ConsoleGuest(serial, { room: 2 }).plug();
  expect(done).toBe(false);
  again.makeRoom(1);
  await sleep(1);
  expect([guest.receivedText, again.receivedText, done]).toEqual(["abc", "def", true]);
  serial.write("!");
  again.makeRoom(1);
  expect(again.receivedText).toBe("def!");
  expect(guest.receivedText).toBe("abc");
});

test("a console that does not listen takes what is written and lets it go", async () => {
  const serial = new SerialPort("vm debug console");
  serial.plug({ take: () => 0, arm: () => true });
  await new Promise((resolve) => serial.write("hello", resolve));
  expect(serial.bytesIn).toBe(0);
});
