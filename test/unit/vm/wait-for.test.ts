import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { SerialPort, WaitError } from "../../../src/vm/serial-port.ts";
import { ConsoleGuest } from "../../support/console-guest.ts";

const SOON = { timeoutMs: 2_000 };

function machine() {
  const serial = new SerialPort("vm serial0");
  return { serial, guest: new ConsoleGuest(serial, { capacity: 1 << 16 }).plug() };
}

async function failure(of: Promise<unknown>): Promise<WaitError> {
  const error = await of.then(
    () => new Error("it came"),
    (reason: unknown) => reason,
  );
  if (error instanceof WaitError) return error;
  throw error;
}

test("finds a string that comes later, and one that came before", async () => {
  const { serial, guest } = machine();
  const later = serial.waitFor("login: ", SOON);
  guest.send("Welcome\r\nvm login: ");
  const match = await later;
  expect([...match, match.index]).toEqual(["login: ", 12]);
  guest.send("root");
  await sleep(10);
  expect((await serial.waitFor("root", SOON))[0]).toBe("root");
});

test("finds a string although it came in pieces", async () => {
  const { serial, guest } = machine();
  const found = serial.waitFor("login: ", SOON);
  for (const piece of ["lo", "gi", "n:", " "]) {
    guest.send(piece);
    await sleep(4);
  }
  await found;
});

test("a RegExp gives its groups, and $ means the end of what has come", async () => {
  const { serial, guest } = machine();
  guest.send("a # comment\nuid=0(root)\n");
  const uid = await serial.waitFor(/uid=(\d+)\((?<name>\w+)\)/, SOON);
  expect([uid[1], uid.groups?.name]).toEqual(["0", "root"]);
  let prompted = false;
  const prompt = serial.waitFor(/# $/, SOON).then(() => {
    prompted = true;
  });
  guest.send("# not yet");
  await sleep(20);
  expect(prompted).toBe(false);
  guest.send("\n~ # ");
  await prompt;
});

test.each([/b/g, /b/y, /b/gy])(
  "%s is looked for anywhere, whatever its flags and lastIndex say",
  async (re) => {
    const { serial, guest } = machine();
    re.lastIndex = 17;
    guest.send("a b a b");
    await serial.waitFor(re, SOON);
    await serial.waitFor(re, SOON);
    expect(re.lastIndex).toBe(17);
  },
);

test("a string with the signs of a RegExp is only a string", async () => {
  const { serial, guest } = machine();
  guest.send("xx [ok] (1.5)* $");
  expect((await serial.waitFor("[ok] (1.5)* $", SOON)).index).toBe(3);
});

test("each match uses up the text before it: the same prompt is not found twice", async () => {
  const { serial, guest } = machine();
  guest.send("one # two # ");
  await serial.waitFor("# ", SOON);
  await serial.waitFor("# ", SOON);
  expect((await failure(serial.waitFor("# ", { timeoutMs: 10 }))).code).toBe("ETIMEDOUT");
});

test("several who wait are served in the order they asked", async () => {
  const { serial, guest } = machine();
  const order: string[] = [];
  const wait = (pattern: string) => serial.waitFor(pattern, SOON).then(() => order.push(pattern));
  const all = [wait("b"), wait("a"), wait("b")];
  guest.send("a b a b");
  await Promise.all(all);
  expect(order).toEqual(["b", "a", "b"]);
});

test("one who gives up lets the next have what is there", async () => {
  const { serial, guest } = machine();
  const never = failure(serial.waitFor("never", { timeoutMs: 20 }));
  const next = serial.waitFor("there", SOON);
  guest.send("there");
  expect((await never).code).toBe("ETIMEDOUT");
  await next;
});

test("does not take the text away from who reads the stream", async () => {
  const { serial, guest } = machine();
  let text = "";
  serial.on("data", (chunk) => {
    text += chunk;
  });
  guest.send("vm login: ");
  await serial.waitFor("login: ", SOON);
  await sleep(5);
  expect(text).toBe("vm login: ");
});

test("works without a reader, also when more comes than is kept for one", async () => {
  const { serial, guest } = machine();
  const found = serial.waitFor("the end", { timeoutMs: 5_000 });
  await guest.sendAll(Buffer.alloc(3 * 2 ** 20, "0123456789abcde\n"));
  await guest.sendAll(Buffer.from("the end"));
  await found;
});

test("finds characters whose bytes came apart", async () => {
  const { serial, guest } = machine();
  const found = serial.waitFor(/größe: (.)$/u, SOON);
  for (const byte of Buffer.from("größe: 🙂")) {
    guest.send(Uint8Array.of(byte));
    await sleep(1);
  }
  expect((await found)[1]).toBe("🙂");
});

test("bytes that are not text are not an obstacle", async () => {
  const { serial, guest } = machine();
  guest.send(Uint8Array.of(0xff, 0xc3, 0x28, 0, 0xf0, 0x9f));
  guest.send("login: ");
  await serial.waitFor("login: ", SOON);
});

test("says what it waited for, how long, and the last lines that came instead", async () => {
  const { serial, guest } = machine();
  for (let line = 1; line <= 9; line++) guest.send(`line ${line}\r\n`);
  const error = await failure(serial.waitFor(/login: $/, { timeoutMs: 30 }));
  expect(error.code).toBe("ETIMEDOUT");
  expect(error.message).toContain("vm serial0: no /login: $/ within 30 ms");
  expect((await failure(serial.waitFor("$ ", { timeoutMs: 1 }))).message).toContain('no "$ " within 1 ms');
  expect(error.message).toContain("line 5");
  expect(error.message).toContain("line 9");
  expect(error.message).not.toContain("line 4");
});

test("a guest that ends ends the waiting, with all that came", async () => {
  const { serial, guest } = machine();
  const one = failure(serial.waitFor("one", SOON));
  const two = failure(serial.waitFor("two", SOON));
  guest.send("Kernel panic");
  serial.finish();
  for (const error of [await one, await two]) {
    expect(error.code).toBe("EPIPE");
    expect(error.message).toContain("the machine has ended");
    expect(error.message).toContain("Kernel panic");
  }
});

test("after the end, text that came can still be found; what did not come is refused at once", async () => {
  const { serial, guest } = machine();
  guest.send("reboot: Power down");
  serial.finish();
  await serial.waitFor("Power down", SOON);
  expect((await failure(serial.waitFor("anything", SOON))).code).toBe("EPIPE");
});

test("the last words of a machine still count for who waits in line", async () => {
  const { serial, guest } = machine();
  const first = failure(serial.waitFor("never", SOON));
  const second = serial.waitFor("Power down", SOON);
  guest.send("Power down");
  serial.finish();
  expect((await first).code).toBe("EPIPE");
  await second;
});

test("text from before a reset and after it is one text", async () => {
  const { serial, guest } = machine();
  guest.send("rebooting");
  serial.drainAll();
  const again = new ConsoleGuest(serial).plug();
  again.send("booted");
  await serial.waitFor(/rebooting.*booted/s, SOON);
});

test.each([Number.POSITIVE_INFINITY, 2 ** 31, 1e12])(
  "a time limit of %d ms is a long time",
  async (timeoutMs) => {
    const { serial, guest } = machine();
    const found = serial.waitFor("late", { timeoutMs });
    await sleep(20);
    guest.send("late");
    await found;
  },
);
